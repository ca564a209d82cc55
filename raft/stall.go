package raft

// A disk that stands still keeps a member from voting, from acknowledging and, as a leader, from applying what is
// committed. It does not keep it from sending heartbeats, so nobody else would take over: it has to hand over itself.

// oldestWriteTicks is how long the oldest write that the storage has not reported has been on its way.
func (c *Core) oldestWriteTicks() uint64 {
	if len(c.log.writes) == 0 {
		return 0
	}
	return c.now - c.log.writes[0].tick
}

func (c *Core) storageStalled() bool { return c.oldestWriteTicks() >= uint64(c.cfg.StorageStallTicks) }

// relieveStalledDisk hands leadership over when the leader's own disk stands still and another voter is active. If
// that one does not take over either, it is tried again after two election timeouts.
func (c *Core) relieveStalledDisk() {
	if !c.storageStalled() || c.transferTo != 0 || c.now < c.nextRelief {
		return
	}
	c.nextRelief = c.now + 2*uint64(c.cfg.ElectionTicks)
	_ = c.handOver(0, TriggerStorageStalled) // without a successor it goes on as it is
}
