package member

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/compare"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc"
)

// Members compare their states by the checksums that each keeps (package kv/compare). The leader asks all others now and then. What differs,
// and does so each time that it is asked anew, is an alarm for the whole cluster. The member that an alarm names believes nobody: it asks
// the others itself, and fences itself only if it finds, again more than once, that it is the only one that differs from more than half
// of the voters.

const (
	// DefaultComparePause is how often the leader compares, confirmPause how often while something differs, and how soon a member notices
	// an alarm that names it.
	DefaultComparePause = 5 * time.Second
	confirmPause        = time.Second
	// compareTimeout bounds one round of questions.
	compareTimeout = 3 * time.Second
)

// compareService is how one member asks another for its checksums.
const compareService = "raftkv.compare"

type compareStub struct {
	Points func(context.Context, *pointsRequest) (*points, error)
}

type pointsRequest struct{}

// points are at most kv.MaxHashPoints checksums and the latest one.
type points struct {
	ApplyVersion uint32     `json:"applyVersion"`
	Applied      raft.Index `json:"applied,string"`
	Points       []point    `json:"points"`
}

type point struct {
	Applied        raft.Index `json:"applied,string"`
	Revision       uint64     `json:"revision,string"`
	ClusterVersion uint32     `json:"clusterVersion"`
	Hash           uint64     `json:"hash,string"`
}

// RegisterCompare offers a member's checksums to the others on the peer port's server. The member that it asks for may be nil.
func RegisterCompare(server *rpc.Server, member func() *Member) error {
	return rpc.Register(server, compareService, compareStub{Points: func(context.Context, *pointsRequest) (*points, error) {
		m := member()
		if m == nil {
			return nil, rpc.Errorf(rpc.CodeUnavailable, "this node is not running as a member at the moment")
		}
		return m.points(), nil
	}}, rpc.Authorize(transport.MembersOnly))
}

func (m *Member) points() *points {
	out := &points{ApplyVersion: kv.ApplyVersion, Applied: m.machine.Applied().Index}
	for _, p := range m.machine.HashPoints() {
		out.Points = append(out.Points, point{p.Applied, p.Revision, p.ClusterVersion, p.Hash})
	}
	return out
}

func (p *points) answer(of raft.NodeID) compare.Answer {
	out := compare.Answer{Member: of, ApplyVersion: p.ApplyVersion, Applied: p.Applied}
	for _, x := range p.Points[:min(len(p.Points), kv.MaxHashPoints+1)] {
		out.Points = append(out.Points, kv.RunningHash{Applied: x.Applied, Revision: x.Revision, ClusterVersion: x.ClusterVersion, Hash: x.Hash})
	}
	return out
}

// compareStates compares the members until the context ends.
func (m *Member) compareStates(ctx context.Context) {
	every := m.options.comparePause()
	tick := time.NewTicker(min(confirmPause, every))
	defer tick.Stop()
	var suspicion compare.Suspicion
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		leads, named := m.replica.Status().Leads(), m.alarmed(m.header.MemberID)
		if !leads && !named {
			suspicion = compare.Suspicion{}
			continue
		}
		if !named && !suspicion.Pending() && time.Since(last) < every {
			continue
		}
		last = time.Now()
		if m.compareOnce(ctx, &suspicion, leads, named) {
			return
		}
	}
}

func (o Options) comparePause() time.Duration {
	if o.ComparePause > 0 {
		return o.ComparePause
	}
	return DefaultComparePause
}

// compareOnce asks everyone once and acts on what is confirmed. It tells whether this member is fenced.
func (m *Member) compareOnce(ctx context.Context, suspicion *compare.Suspicion, leads, named bool) (fenced bool) {
	applied := m.machine.Applied().Index // before the others are asked
	members, answers := m.ask(ctx)
	f := compare.Decide(members, answers)
	m.options.Metrics.Compared(f.Verdict.String(), f.Index, f.Verdict == compare.Agree)
	confirmed := suspicion.Note(f)
	if f.Verdict == compare.Differs || f.Verdict == compare.Conflict {
		m.options.Logger.Warn("the states of members differ", "finding", f.String(), "confirmed", confirmed)
	}
	if !confirmed {
		return false
	}
	self := m.header.MemberID
	if leads {
		m.raise(ctx, f)
	}
	if !named || f.Verdict != compare.Differs || f.Member != self || !compare.Covered(members, self, applied, answers) {
		return false
	}
	reason := fmt.Sprintf("its state differs from that of more than half of the voters, which agree (%s)", f)
	if err := m.replica.Fence(reason); err != nil {
		m.options.Logger.Error("this member's state differs from the others', and it could not be fenced", "error", err)
		return false
	}
	return true
}

// raise makes a finding known to the cluster.
func (m *Member) raise(ctx context.Context, f compare.Finding) {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	// The member is zero if nobody can tell which one it is.
	about := kv.Alarm{Member: f.Member, Type: kv.AlarmCorrupt}
	if !m.alarmed(f.Member) {
		m.options.Logger.Error("the states of members differ: raising the alarm", "finding", f.String())
		if _, err := (carrier{m}).Propose(ctx, kv.RaiseAlarm(about)); err != nil {
			m.options.Logger.Warn("the alarm could not be raised yet", "error", err)
			return
		}
	}
	if f.Member != 0 && m.alarmed(0) {
		about.Member = 0
		if _, err := (carrier{m}).Propose(ctx, kv.LowerAlarm(about)); err != nil {
			m.options.Logger.Warn("the alarm of no member could not be lowered yet", "error", err)
		}
	}
}

// alarmed tells whether the alarm is up that a member's state differs.
func (m *Member) alarmed(id raft.NodeID) bool {
	return slices.Contains(m.machine.Alarms(), kv.Alarm{Member: id, Type: kv.AlarmCorrupt})
}

// ask asks all members at once. Those that do not answer in time are left out.
func (m *Member) ask(ctx context.Context) (raft.Membership, []compare.Answer) {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	members := m.replica.Status().Membership
	answers := []compare.Answer{m.points().answer(m.header.MemberID)}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, x := range members.Members {
		if x.ID == m.header.MemberID {
			continue
		}
		asking.Go(func() {
			p, err := askPoints(ctx, m.replica, x.ID)
			if err != nil {
				m.options.Logger.Debug("a member did not tell the checksums of its state", "peer", x.ID.String(), "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, p.answer(x.ID))
		})
	}
	asking.Wait()
	return members, answers
}

func askPoints(ctx context.Context, r *replica.Replica, id raft.NodeID) (*points, error) {
	caller, err := r.Caller(id)
	if err != nil {
		return nil, err
	}
	var stub compareStub
	if err := rpc.BindContext(ctx, caller, compareService, &stub); err != nil {
		return nil, err
	}
	return stub.Points(ctx, &pointsRequest{})
}
