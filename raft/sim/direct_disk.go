package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/wal"
)

// Stall lets the disk of a machine stand still for a while: no write that begins meanwhile is stored before the end of it.
func (c *Cluster) Stall(machine int, d time.Duration) error {
	return c.onDisk(machine, func(m *member) error {
		m.stalledUntil = max(m.stalledUntil, c.w.now+d)
		c.w.trace(nil, "the disk of member %s stands still for %s", m.id, d)
		return nil
	})
}

// Fill takes all room from the disk of a machine, or gives it back. A program that needs some stops, and starts again until there is.
func (c *Cluster) Fill(machine int, full bool) error {
	return c.onDisk(machine, func(m *member) error {
		m.fill(full)
		c.w.trace(nil, "the disk of member %s is full: %t", m.id, full)
		return nil
	})
}

// Rot flips bits of the log of a machine until it is one that a start must refuse. What a start finds is set aside some seconds later,
// and the machine waits to be added anew.
func (c *Cluster) Rot(machine int) error {
	const mostFlips = 200
	return c.onDisk(machine, func(m *member) error {
		m.rotten = true
		for range mostFlips {
			if _, _, err := wal.Open(m.disk.real.fs.Clone(1), walDirectory, walOptions(m)); err != nil {
				c.w.trace(nil, "bits of member %s have flipped: %v", m.id, err)
				return nil
			}
			m.disk.real.rot(m, m.host.random)
		}
		return fmt.Errorf("no bit of machine %d was found that matters", machine)
	})
}

func (c *Cluster) onDisk(machine int, f func(m *member) error) error {
	return c.ask(func() error {
		m := c.host(machine).member
		if m == nil {
			return errors.New("the disk is empty")
		}
		return f(m)
	})
}

// Changes asks a machine, which should lead, for several changes of the membership at once, on the configuration that it has. It
// returns the IDs that they concern.
func (c *Cluster) Changes(machine int, changes []raft.Change) (ids []raft.NodeID, err error) {
	p := c.host(machine).proc
	if p == nil {
		return nil, fmt.Errorf("machine %d does not run", machine)
	}
	err = c.ask(func() error {
		var index raft.Index
		var err error
		ids, index, err = p.core.ProposeChanges(p.core.ConfigIndex(), changes)
		c.w.trace(p, "%d changes at once: entry %d, %v", len(changes), index, err)
		if errors.Is(err, raft.ErrJointVersion) {
			_, _ = p.core.ProposeClusterVersion(raft.JointVersion)
		}
		if err == nil {
			c.w.coverage.Changes++
		}
		p.stepped()
		return err
	})
	return ids, err
}
