package kv

import (
	"bytes"
	"cmp"
)

// path is which way a transaction goes. All compares, nested ones included, are decided before anything is written,
// as etcd does, so that it can be refused as a whole.
type path struct {
	succeeded bool
	// nested holds one path for each nested transaction of the branch, in their order.
	nested []path
}

// branch returns the operations that run.
func (t *Txn) branch(p *path) []Op {
	if p.succeeded {
		return t.Success
	}
	return t.Failure
}

func (a *applier) path(t *Txn) (path, error) {
	p := path{succeeded: true}
	for i := range t.Compares {
		ok, err := a.holds(&t.Compares[i])
		if err != nil {
			return path{}, err
		}
		if !ok {
			p.succeeded = false
			break
		}
	}
	ops := t.branch(&p)
	for i := range ops {
		if ops[i].Kind != OpTxn {
			continue
		}
		nested, err := a.path(ops[i].Txn)
		if err != nil {
			return path{}, err
		}
		p.nested = append(p.nested, nested)
	}
	return p, nil
}

// check returns the reason for which the branches that would run are refused, if there is one.
func (a *applier) check(t *Txn, p *path) (refusal, err error) {
	ops := t.branch(p)
	nested := p.nested
	for i := range ops {
		op := &ops[i]
		switch op.Kind {
		case OpPut:
			refusal, err = a.checkPut(op)
		case OpRange:
			refusal = checkRevision(op.Range.Revision, a.state.revision, a.state.compacted)
		case OpTxn:
			refusal, err = a.check(op.Txn, &nested[0])
			nested = nested[1:]
		}
		if refusal != nil || err != nil {
			return refusal, err
		}
	}
	return nil, nil
}

func (a *applier) checkPut(op *Op) (refusal, err error) {
	if a.state.noSpace() {
		return ErrNoSpace, nil
	}
	if op.IgnoreValue || op.IgnoreLease {
		old, err := a.view.get(op.Keys.Start, false)
		if err != nil {
			return nil, err
		}
		if !old.exists() {
			return ErrKeyNotFound, nil
		}
	}
	if op.Lease != 0 && a.hasLeases() && a.machine.leases.leases[op.Lease] == nil {
		return ErrLeaseNotFound, nil
	}
	return nil, nil
}

// holds evaluates one compare.
func (a *applier) holds(c *Compare) (bool, error) {
	withValue := c.Target == TargetValue
	if c.Keys.single() {
		v, err := a.view.get(c.Keys.Start, withValue)
		if err != nil {
			return false, err
		}
		return c.holdsFor(&v), nil
	}
	scan, err := a.view.scan(c.Keys, c.Keys.Start)
	if err != nil {
		return false, err
	}
	if !scan.valid() {
		return c.holdsFor(&version{}), nil
	}
	for scan.valid() {
		kv, err := scan.load(withValue)
		if err != nil {
			return false, err
		}
		v := version{mod: kv.ModRevision, create: kv.CreateRevision, count: kv.Version, lease: kv.Lease, value: kv.Value}
		if !c.holdsFor(&v) {
			return false, nil
		}
		if err := scan.next(); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (c *Compare) holdsFor(v *version) bool {
	if !v.exists() {
		v = &version{}
		if c.Target == TargetValue {
			return false
		}
	}
	var order int
	switch c.Target {
	case TargetVersion:
		order = cmp.Compare(v.count, c.Number)
	case TargetCreate:
		order = cmp.Compare(v.create, c.Number)
	case TargetMod:
		order = cmp.Compare(v.mod, c.Number)
	case TargetValue:
		order = bytes.Compare(v.value, c.Value)
	case TargetLease:
		order = cmp.Compare(v.lease, int64(c.Number))
	}
	switch c.Relation {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	}
	return order > 0
}
