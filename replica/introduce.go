package replica

import (
	"context"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/rpc"
)

// introductionService tells a member where the others are. Connections go one way, so a directory that was just adopted, whose
// log is empty, could not even answer the leader.
const introductionService = "raftkv.introduction"

type introductionStub struct {
	Introduce func(context.Context, *raft.Membership) (*appended, error)
}

const (
	// introductionTimeout bounds one attempt, introductionPause is the pause before the next.
	introductionTimeout = 5 * time.Second
	introductionPause   = 250 * time.Millisecond
)

// introducing is the introduction of one member over one connection.
type introducing struct{ cancel context.CancelFunc }

func registerIntroduction(server *rpc.Server, d *door) error {
	return rpc.Register(server, introductionService, introductionStub{Introduce: func(_ context.Context, m *raft.Membership) (*appended, error) {
		d.introduced(*m)
		return &appended{}, nil
	}}, rpc.Authorize(transport.MembersOnly))
}

// introduced takes in a membership that is committed, as another member says.
func (d *door) introduced(m raft.Membership) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.Index <= d.introduction.Index {
		return
	}
	d.introduction = m
	d.followPeers()
}

// introduceTo tells a member that is connected who the members are, until it has heard of all that is committed, or the connection is lost: a learner whose log
// is empty, and a voter that was away. Neither could answer a leader or a candidate that was added meanwhile, since it does not dial whom it does not
// know. It does not wait. The caller holds mu.
func (d *door) introduceTo(id raft.NodeID) {
	if _, connected := d.levels[id]; !connected || d.introducing[id] != nil || d.closed {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	self := &introducing{cancel}
	d.introducing[id] = self
	d.background.Go(func() {
		defer cancel()
		for told := raft.Index(0); ; {
			m, more := d.untold(id, self, told)
			if !more {
				return
			}
			err := d.introduce(ctx, id, m)
			if err == nil {
				told = m.Index
				continue
			}
			d.logger.Debug("a member could not be told of the members yet", "peer", id.String(), "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(introductionPause):
			}
		}
	})
}

// untold returns what a member is to be told that was told of the members up to that index, or ends its introduction.
func (d *door) untold(id raft.NodeID, self *introducing, told raft.Index) (_ raft.Membership, more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.introducing[id] != self {
		return raft.Membership{}, false
	}
	committed := d.local.Committed
	if _, known := committed.Find(id); !known || committed.Index <= told {
		delete(d.introducing, id)
		return raft.Membership{}, false
	}
	return committed, true
}

func (d *door) introduce(ctx context.Context, id raft.NodeID, committed raft.Membership) error {
	ctx, cancel := context.WithTimeout(ctx, introductionTimeout)
	defer cancel()
	caller, err := d.transport.Caller(id)
	if err != nil {
		return err
	}
	stub := new(introductionStub)
	if err := rpc.Bind(caller, introductionService, stub); err != nil {
		return err
	}
	_, err = stub.Introduce(ctx, &committed)
	return err
}

func (d *door) stopIntroducing(id raft.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.introducing[id]; x != nil {
		x.cancel()
		delete(d.introducing, id)
	}
}
