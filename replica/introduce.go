package replica

import (
	"context"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/rpc"
)

// introductionService tells a learner where the members are. Connections go one way, so a directory that was just adopted, whose
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

// introduceTo tells a learner of the members, until it has heard or the connection is lost. It does not wait.
func (d *door) introduceTo(id raft.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m, known := d.local.Committed.Find(id); !known || !m.Learner || d.introducing[id] != nil || d.closed {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.introducing[id] = cancel
	d.background.Go(func() {
		defer d.stopIntroducing(id)
		for {
			err := d.introduce(ctx, id)
			if err == nil || ctx.Err() != nil {
				return
			}
			d.logger.Debug("a learner could not be told of the members yet", "peer", id.String(), "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(introductionPause):
			}
		}
	})
}

func (d *door) introduce(ctx context.Context, id raft.NodeID) error {
	ctx, cancel := context.WithTimeout(ctx, introductionTimeout)
	defer cancel()
	d.mu.Lock()
	committed := d.local.Committed
	d.mu.Unlock()
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
	if cancel := d.introducing[id]; cancel != nil {
		cancel()
		delete(d.introducing, id)
	}
}
