package kv

// leaseCommand applies a command about leases.
func (a *applier) leaseCommand(c *Command) (*Result, error) {
	if len(c.Leases) != 1 && (c.Kind == CommandLeaseGrant || c.Kind == CommandLeaseRevoke) {
		return a.refuse(ErrMalformed), nil
	}
	switch c.Kind {
	case CommandLeaseGrant:
		return a.grant(c.Leases[0]), nil
	case CommandLeaseRevoke:
		s := a.machine.leases.leases[c.Leases[0].ID]
		if s == nil {
			return a.refuse(ErrLeaseNotFound), nil
		}
		deleted, err := a.revoke(s)
		r := a.done()
		r.Deleted = deleted
		return r, err
	case CommandLeaseRenew:
		for _, l := range c.Leases {
			if s := a.machine.leases.leases[l.ID]; s != nil {
				a.machine.leases.renew(s, a.index)
				a.tell(LeaseRenewed, s.Lease)
			}
		}
		return a.done(), nil
	}
	r := a.done()
	for _, l := range c.Leases {
		s := a.machine.leases.leases[l.ID]
		if s == nil || s.Renewed != l.Renewed {
			continue
		}
		deleted, err := a.revoke(s)
		if err != nil {
			return nil, err
		}
		r.Deleted += deleted
	}
	r.Revision = a.state.revision
	return r, nil
}

func (a *applier) grant(l Lease) *Result {
	table := a.machine.leases
	switch {
	case a.state.noSpace():
		return a.refuse(ErrNoSpace)
	case l.TTL <= 0 || l.TTL > MaxLeaseTTL:
		return a.refuse(ErrLeaseTTL)
	case l.ID == 0:
		return a.refuse(ErrLeaseNotFound)
	case table.leases[l.ID] != nil:
		return a.refuse(ErrLeaseExists)
	case len(table.leases) >= MaxLeases:
		return a.refuse(ErrTooManyLeases)
	}
	l.Renewed = a.index
	table.grant(l)
	a.note(uint64(CommandLeaseGrant), uint64(l.ID), uint64(l.TTL))
	a.tell(LeaseGranted, l)
	return a.done()
}

// revoke deletes the keys of a lease, as one revision, and the lease.
func (a *applier) revoke(s *leaseState) (deleted uint64, err error) {
	a.begin()
	for _, key := range s.sortedKeys() {
		old, err := a.view.get([]byte(key), false)
		if err != nil {
			return 0, err
		}
		if !old.exists() || old.lease != s.ID {
			return 0, &CorruptError{What: "attachment to a lease", Key: []byte(key), Revision: old.mod, Reason: "the key hangs on another lease or on none"}
		}
		a.write([]byte(key), version{deleted: true}, &old)
		deleted++
	}
	a.end()
	a.machine.leases.revoke(s)
	a.note(uint64(CommandLeaseRevoke), uint64(s.ID))
	a.tell(LeaseRevoked, s.Lease)
	return deleted, nil
}

// tell keeps a change for the observer.
func (a *applier) tell(e LeaseEvent, l Lease) {
	if a.observed {
		a.changes = append(a.changes, LeaseChange{Event: e, Lease: l})
	}
}
