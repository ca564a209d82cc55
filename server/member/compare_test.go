package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/status"
	"github.com/raftkv/raftkv/test/loopback"
)

// The states of real members over real sockets are compared. One of them applies something else than what the log says, as a broken machine or
// a bug would.

// falsified is the key whose value a crooked member applies otherwise.
const falsified = "falsified"

// crooked is a state machine that can go wrong.
type crooked struct {
	*Machine
	wrong *atomic.Bool
}

// Apply applies the entries, but for the values of one key.
func (c crooked) Apply(entries []raft.Entry) ([]any, error) {
	if !c.wrong.Load() {
		return c.Machine.Apply(entries)
	}
	entries = slices.Clone(entries)
	for i, e := range entries {
		if e.Type != raft.EntryNormal {
			continue
		}
		header, rest, err := session.Decode(e.Data)
		if err != nil {
			continue
		}
		command, err := kv.DecodeCommand(rest)
		if err != nil || command.Kind != kv.CommandTxn || string(command.Txn.Success[0].Keys.Start) != falsified {
			continue
		}
		if entries[i].Data, err = kv.AppendProposal(nil, header, kv.Put([]byte(falsified), []byte("something else"))); err != nil {
			return nil, err
		}
	}
	return c.Machine.Apply(entries)
}

// post is where one member lives, one life after another.
type post struct {
	t       *testing.T
	name    string
	dir     string
	address string
	cluster []replica.Member
	wrong   atomic.Bool
	// verify is how often the whole store is read; zero means the default.
	verify time.Duration

	replica *replica.Replica
	member  atomic.Pointer[Member]
	waiting chan struct{} // closed when the goroutine that starts the member has ended
}

func (p *post) start() {
	p.t.Helper()
	o := Options{Metrics: status.NewMetrics("test"), Logger: slog.New(slog.DiscardHandler), ComparePause: 30 * time.Millisecond, VerifyPause: p.verify, Config: config.Config{
		QuotaBackendBytes: 1 << 30, MaxKeyBytes: 100, MaxValueBytes: 1000, MaxTxnOps: 10, MaxRequestBytes: 2000, ElectionTimeout: 200 * time.Millisecond,
	}}
	var machine *Machine
	open := func() (err error) {
		p.replica, err = replica.Open(replica.Config{
			Dir: p.dir, Name: p.name, Listen: p.address, InitialCluster: p.cluster, FeatureLevel: FeatureLevel,
			HeartbeatInterval: 20 * time.Millisecond, ElectionTimeout: 200 * time.Millisecond,
			OpenMachine: func(at replica.Place) (_ replica.Machine, err error) {
				if machine, err = OpenMachine(o, at); err != nil {
					return nil, err
				}
				return crooked{machine, &p.wrong}, nil
			},
			Services: func(_ *replica.Replica, server *rpc.Server) error { return RegisterCompare(server, p.member.Load) },
		})
		return err
	}
	p.until("the address is free", func() error { return open() })
	r, waiting := p.replica, make(chan struct{})
	p.waiting = waiting
	go func() {
		defer close(waiting)
		select {
		case <-r.Running():
			p.member.Store(Start(o, r, machine))
		case <-r.Done():
		}
	}()
}

func (p *post) stop() {
	if p.replica == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := p.replica.Stop(ctx)
	if err != nil && !errors.Is(err, replica.ErrRemoved) {
		p.t.Error(err)
	}
	<-p.waiting
	if m := p.member.Swap(nil); m != nil {
		m.Stop()
	}
	p.replica = nil
}

// until waits.
func (p *post) until(what string, holds func() error) {
	p.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = holds(); err == nil {
			return
		}
	}
	p.t.Fatalf("%s: never: %s: %v", p.name, what, err)
}

func (p *post) put(key, value string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.until("a put is acknowledged", func() error {
		m := p.member.Load()
		if m == nil {
			return errors.New("no member")
		}
		_, err := m.Store().Put(ctx, backend.PutRequest{Key: []byte(key), Value: []byte(value)})
		return err
	})
}

func (p *post) alarms() []kv.Alarm {
	if m := p.member.Load(); m != nil {
		return m.machine.Alarms()
	}
	return nil
}

func assemble(t *testing.T, names ...string) []*post {
	t.Helper()
	var all []*post
	var cluster []replica.Member
	for _, name := range names {
		p := &post{t: t, name: name, dir: t.TempDir(), address: loopback.MustAddress(t)}
		all, cluster = append(all, p), append(cluster, replica.Member{Name: name, PeerAddress: p.address})
		t.Cleanup(p.stop)
	}
	for _, p := range all {
		p.cluster = cluster
		p.start()
	}
	for _, p := range all {
		p.until("the version at which members are compared", func() error {
			if v := p.replica.Status().ClusterVersion; v < kv.CompareVersion || p.member.Load() == nil {
				return fmt.Errorf("%d", v)
			}
			return nil
		})
	}
	return all
}

func leading(t *testing.T, all []*post) (leader *post) {
	t.Helper()
	all[0].until("one leads", func() error {
		for _, p := range all {
			if p.replica != nil && p.replica.Status().Leads() && p.replica.Status().CommittedInTerm {
				leader = p
				return nil
			}
		}
		return errors.New("nobody")
	})
	return leader
}

func TestOnlyTheMemberThatDiffersIsFencedAndComesBackAsNew(t *testing.T) {
	for _, x := range []struct {
		name string
		// atRest: the member is made to differ while it is the only one that runs wrong, and then runs right again.
		leader, atRest bool
	}{{"a follower", false, false}, {"the leader", true, false}, {"a follower that went wrong in the past", false, true}} {
		t.Run(x.name, func(t *testing.T) {
			all := assemble(t, "a", "b", "c")
			victim := leading(t, all)
			if !x.leader {
				victim = all[(slices.Index(all, victim)+1)%3]
			}
			var rest []*post
			for _, p := range all {
				if p != victim {
					rest = append(rest, p)
				}
			}
			old := victim.replica.Status().Identity
			rest[0].put("k", "v")
			victim.wrong.Store(true)
			rest[0].put(falsified, "what the log says")
			if x.atRest {
				victim.until("it has applied it", func() error {
					got, err := victim.member.Load().machine.Get(context.Background(), []byte(falsified), 0)
					if err == nil && string(got.Value) != "something else" {
						err = fmt.Errorf("%q", got.Value)
					}
					return err
				})
				victim.wrong.Store(false)
			}

			victim.until("it is fenced", func() error {
				select {
				case <-victim.replica.Done():
					return nil
				default:
					return fmt.Errorf("%+v", victim.alarms())
				}
			})
			if err := victim.replica.Err(); !errors.Is(err, replica.ErrRemoved) {
				t.Fatalf("it ended by %v", err)
			}
			<-victim.waiting
			if _, err := victim.member.Load().Store().Put(context.Background(), backend.PutRequest{Key: []byte("k")}); !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("a fenced member answers %v", err)
			}
			victim.stop()
			if aside, _ := filepath.Glob(filepath.Join(victim.dir, "removed-*", "member", "kv", "*")); len(aside) == 0 {
				t.Error("its data is not kept")
			}
			want := []kv.Alarm{{Member: old.MemberID, Type: kv.AlarmCorrupt}}
			for _, p := range rest {
				if s := p.replica.Status(); s.State != replica.StateMember || s.Identity.MemberID == 0 {
					t.Errorf("%s is %s", p.name, s.State)
				}
				p.until("the alarm", func() error {
					if got := p.alarms(); !slices.Equal(got, want) {
						return fmt.Errorf("%+v", got)
					}
					return nil
				})
			}

			// A node without a member, as the cluster takes in any.
			victim.wrong.Store(false)
			victim.start()
			victim.until("it waits to be added", func() error {
				if s := victim.replica.Status(); s.State != replica.StateEmpty || !strings.Contains(s.Fenced, "differs") {
					return fmt.Errorf("%s, fenced %q", s.State, s.Fenced)
				}
				return nil
			})
			newcomer := raft.Member{Name: victim.name, PeerAddress: victim.address, Incarnation: victim.replica.Status().Identity.Incarnation}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			rest[0].until("it is added", func() error {
				_, err := leading(t, rest).replica.Add(ctx, newcomer)
				return err
			})
			rest[0].until("the old one is removed", func() error { return leading(t, rest).replica.Remove(ctx, old.MemberID) })
			rest[0].put("k", "after")
			for _, p := range all {
				p.until("all hold the same, and no alarm is up", func() error {
					if got := p.alarms(); len(got) != 0 || p.member.Load() == nil {
						return fmt.Errorf("alarms %+v", got)
					}
					got, err := p.member.Load().machine.Get(ctx, []byte(falsified), 0)
					if err == nil && string(got.Value) != "what the log says" {
						err = fmt.Errorf("%q", got.Value)
					}
					return err
				})
			}
			leader := leading(t, all)
			_, answers := leader.member.Load().ask(ctx)
			if len(answers) != 3 {
				t.Errorf("%d members tell their checksums", len(answers))
			}
		})
	}
}

// TestWithoutAMajorityThereIsAnAlarmAndNobodyIsFenced: of two members that differ nobody can tell who is right.
func TestWithoutAMajorityThereIsAnAlarmAndNobodyIsFenced(t *testing.T) {
	all := assemble(t, "a", "b")
	all[0].wrong.Store(true)
	all[0].put(falsified, "what the log says")
	for _, p := range all {
		p.until("the alarm of no member", func() error {
			if got := p.alarms(); !slices.Equal(got, []kv.Alarm{{Type: kv.AlarmCorrupt}}) {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
	}
	all[0].put("k", "v") // and both serve
	for _, p := range all {
		if s := p.replica.Status(); s.State != replica.StateMember {
			t.Errorf("%s is %s", p.name, s.State)
		}
	}
}

// TestAnAlarmAloneFencesNobody: whoever raised it, the member that it names finds out by itself.
func TestAnAlarmAloneFencesNobody(t *testing.T) {
	all := assemble(t, "a", "b", "c")
	leader := leading(t, all)
	victim := all[(slices.Index(all, leader)+1)%3]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id := victim.replica.Status().Identity.MemberID
	if _, err := leader.member.Load().Store().Alarm(ctx, backend.AlarmRequest{Action: backend.AlarmRaise, Member: id, Type: kv.AlarmCorrupt}); err != nil {
		t.Fatal(err)
	}
	victim.until("it knows", func() error {
		if !victim.member.Load().alarmed(id) {
			return errors.New("not yet")
		}
		return nil
	})
	// It has asked more often than it takes to be sure.
	asked := func() int {
		n := 0
		for _, c := range leader.replica.Calls().Methods {
			if strings.HasPrefix(c.Method, compareService) {
				n += int(c.Successes)
			}
		}
		return n
	}
	before := asked()
	victim.until("it compares", func() error {
		if n := asked() - before; n < 10 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	if s := victim.replica.Status(); s.State != replica.StateMember {
		t.Errorf("it is %s", s.State)
	}
	victim.put("k", "v")
}
