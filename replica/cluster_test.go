package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/test/loopback"
)

// patience is how long a test waits for what must happen.
const patience = 3 * time.Minute

// tally counts its commands by name, so that one that is applied twice shows. An answer is the name's new count.
type tally struct {
	counts map[string]uint64
	// restored counts calls of Restore.
	restored int
}

func newTally() *tally { return &tally{counts: map[string]uint64{}} }

func (t *tally) Apply(batch []Command) [][]byte {
	answers := make([][]byte, len(batch))
	for i, c := range batch {
		t.counts[string(c.Data)]++
		answers[i] = binary.AppendUvarint(nil, t.counts[string(c.Data)])
	}
	return answers
}

func (t *tally) Snapshot(w io.Writer) error {
	for name, n := range t.counts {
		if _, err := fmt.Fprintf(w, "%s %d\n", name, n); err != nil {
			return err
		}
	}
	return nil
}

func (t *tally) Restore(r io.Reader) error {
	t.restored++
	t.counts = map[string]uint64{}
	for {
		var name string
		var n uint64
		if _, err := fmt.Fscanf(r, "%s %d\n", &name, &n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		t.counts[name] = n
	}
}

// station is where one replica runs, and runs again.
type station struct {
	t       *testing.T
	cfg     Config
	replica *Replica
	tally   *tally
}

func newStation(t *testing.T, name string) *station {
	t.Helper()
	s := &station{t: t, cfg: Config{
		Dir: t.TempDir(), Name: name, Listen: loopback.MustAddress(t), SnapshotEntries: 50,
		HeartbeatInterval: 20 * time.Millisecond, ElectionTimeout: 200 * time.Millisecond,
	}}
	t.Cleanup(s.kill)
	return s
}

func (s *station) start() {
	s.t.Helper()
	s.tally = newTally()
	s.cfg.StateMachine = s.tally
	eventually(s.t, "the address is free", func() bool {
		r, err := Open(s.cfg)
		if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			s.t.Fatal(err)
		}
		s.replica = r
		return err == nil
	})
}

// kill stops at once, without a hand-over.
func (s *station) kill() {
	if s.replica == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.replica.Stop(ctx)
	s.replica = nil
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func trio(t *testing.T) []*station {
	t.Helper()
	return trioThatElects(t, 200*time.Millisecond)
}

// trioThatElects is a cluster of three with an election timeout; with a short one a busy machine has elections at any time.
func trioThatElects(t *testing.T, within time.Duration) []*station {
	t.Helper()
	var all []*station
	var members []Member
	for _, name := range []string{"a", "b", "c"} {
		s := newStation(t, name)
		all, members = append(all, s), append(members, Member{Name: name, PeerAddress: s.cfg.Listen})
	}
	for _, s := range all {
		s.cfg.InitialCluster, s.cfg.ElectionTimeout = members, within
		s.start()
	}
	return all
}

func leaderOf(t *testing.T, all []*station) (leader *station) {
	t.Helper()
	eventually(t, "one leads", func() bool {
		for _, s := range all {
			if s.replica != nil && s.replica.Status().Leads() && s.replica.Status().CommittedInTerm {
				leader = s
				return true
			}
		}
		return false
	})
	return leader
}

// ofLeader asks whoever leads for a change of the members. It fails only where that one leads no more, or has just removed itself; then the next is asked.
func ofLeader(ctx context.Context, t *testing.T, all []*station, change func(*Replica) error) {
	t.Helper()
	for {
		err := change(leaderOf(t, all).replica)
		if err == nil {
			return
		}
		if ctx.Err() != nil || !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, node.ErrStopped) {
			t.Fatal(err)
		}
	}
}

func addTo(ctx context.Context, t *testing.T, all []*station, m raft.Member) (id raft.NodeID) {
	t.Helper()
	ofLeader(ctx, t, all, func(r *Replica) (err error) {
		id, err = r.Add(ctx, m)
		return err
	})
	return id
}

func removeFrom(ctx context.Context, t *testing.T, all []*station, id raft.NodeID) {
	t.Helper()
	ofLeader(ctx, t, all, func(r *Replica) error { return r.Remove(ctx, id) })
}

func (s *station) propose(ctx context.Context, name string) uint64 {
	s.t.Helper()
	answer, err := s.replica.Propose(ctx, []byte(name))
	if err != nil {
		s.t.Fatalf("%s at %s: %v", name, s.cfg.Name, err)
	}
	n, _ := binary.Uvarint(answer)
	return n
}

func (s *station) count(ctx context.Context, name string) (n uint64) {
	s.t.Helper()
	if err := s.replica.Read(ctx, func() { n = s.tally.counts[name] }); err != nil {
		s.t.Fatalf("read at %s: %v", s.cfg.Name, err)
	}
	return n
}

func TestThreeReplicasOverRealSockets(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all := trioThatElects(t, time.Second) // what is asked for below is not to wait for one election after the other
	for i, s := range all {
		if got := s.propose(ctx, "x"); got != uint64(i+1) {
			t.Errorf("command %d was answered %d", i+1, got)
		}
	}

	// One is killed; the others go on past what their logs keep, so that it comes back by a snapshot.
	leader := leaderOf(t, all)
	var rest []*station
	for _, s := range all {
		if s != leader {
			rest = append(rest, s)
		}
	}
	leader.kill()
	var proposing sync.WaitGroup
	for first := range 8 { // at a time, so that they share what each costs
		proposing.Go(func() {
			for i := first; i < 400; i += 8 {
				if _, err := rest[i%2].replica.Propose(ctx, fmt.Appendf(nil, "y%d", i%7)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	proposing.Wait()
	leader.start()
	if got := leader.count(ctx, "y0"); got != 58 {
		t.Errorf("after the restart y0 = %d", got)
	}
	if leader.tally.restored != 2 { // its own image, then the leader's
		t.Errorf("the state was restored %d times", leader.tally.restored)
	}

	// A fourth is added, and may count in a quorum: with it, one of the three may go.
	d := newStation(t, "d")
	d.start()
	newcomer := raft.Member{Name: "d", Incarnation: d.replica.Status().Identity.Incarnation, PeerAddress: d.replica.Address()}
	id := addTo(ctx, t, all, newcomer)
	if again := addTo(ctx, t, all, newcomer); again != id {
		t.Errorf("added again as %v, it was %v", again, id)
	}
	leader.kill()
	if got := d.propose(ctx, "x"); got != 4 {
		t.Errorf("the new member's command was answered %d", got)
	}
	leader.start()

	// And it is removed: its replica ends, says so, and keeps the data aside.
	removeFrom(ctx, t, all, id)
	select {
	case <-d.replica.Done():
	case <-ctx.Done():
		t.Fatal("the removed replica goes on")
	}
	if err := d.replica.Err(); !errors.Is(err, ErrRemoved) {
		t.Errorf("it ended by %v", err)
	}
	d.start()
	if s := d.replica.Status(); s.State != StateEmpty || s.Identity.Incarnation == newcomer.Incarnation {
		t.Errorf("opened again: %s, incarnation %s", s.State, s.Identity.Incarnation)
	}
}

// Callers go on while leaders are killed. Whatever was answered is applied once, and what was refused not at all.
func TestExactlyOnceThroughChangesOfLeaders(t *testing.T) {
	all := trio(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	const callers, rounds = 8, 40
	var mu sync.Mutex
	answered, unknown := map[string]bool{}, map[string]bool{}
	var calling sync.WaitGroup
	asked := make(chan struct{}, callers*rounds)
	survivor := all[0] // the callers' replica is not killed
	for c := range callers {
		calling.Go(func() {
			for i := range rounds {
				name := fmt.Sprintf("n%d-%d", c, i)
				answer, err := survivor.replica.Propose(ctx, []byte(name))
				mu.Lock()
				if err == nil {
					answered[name] = true
					if n, _ := binary.Uvarint(answer); n != 1 {
						t.Errorf("%s was answered %d", name, n)
					}
				} else {
					unknown[name] = errors.Is(err, ErrUnknown)
				}
				mu.Unlock()
				asked <- struct{}{}
			}
		})
	}
	for i := range callers * rounds {
		<-asked
		if i%60 == 30 {
			if l := leaderOf(t, all); l != survivor {
				l.kill()
				l.start()
			} else if _, err := l.replica.Transfer(ctx, 0); err != nil {
				t.Log(err)
			}
		}
	}
	calling.Wait()
	if len(answered) < callers*rounds/2 {
		t.Errorf("only %d were answered", len(answered))
	}
	for _, s := range all {
		_ = s.count(ctx, "") // it has all that is committed
		if err := s.replica.Look(func() {
			for name, n := range s.tally.counts {
				if n != 1 || !answered[name] && !unknown[name] {
					t.Errorf("%s: %s was applied %d times, answered: %t", s.cfg.Name, name, n, answered[name])
				}
			}
			for name := range answered {
				if s.tally.counts[name] != 1 {
					t.Errorf("%s: %s was answered, and is applied %d times", s.cfg.Name, name, s.tally.counts[name])
				}
			}
		}); err != nil {
			t.Error(err)
		}
	}
}

func TestADirectorySpeaksForItsOwnMemberOnly(t *testing.T) {
	s := newStation(t, "a")
	s.cfg.InitialCluster = []Member{{Name: "a", PeerAddress: s.cfg.Listen}}
	s.start()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.propose(ctx, "x")
	id := s.replica.Status().Identity
	dir := s.replica.dir.MemberPath()
	s.kill()
	complete := s.cfg
	if err := complete.complete(); err != nil {
		t.Fatal(err)
	}
	closeAll(complete.Listeners)
	for _, change := range []func(*identity.Identity){
		func(i *identity.Identity) { i.ClusterID++ },
		func(i *identity.Identity) { i.MemberID++ },
		func(i *identity.Identity) { i.Incarnation++ },
	} {
		other := id
		change(&other)
		if m, err := startMember(dir, other, complete, nil); err == nil {
			t.Errorf("started as %+v", other)
			_ = m.stop(ctx)
		}
	}
	other := s.cfg
	other.Name = "b"
	if _, err := Open(other); err == nil {
		t.Error("a directory took another name")
	}
	other = s.cfg
	other.InitialToken = "another"
	if _, err := Open(other); err == nil {
		t.Error("a directory took another token")
	}
	s.start()
	if got := s.count(ctx, "x"); got != 1 {
		t.Errorf("after all that x = %d", got)
	}
}
