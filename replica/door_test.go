package replica

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/rpc"
)

func openDoor(t *testing.T, id identity.Identity, adoptable bool) (*door, string) {
	t.Helper()
	server := rpc.NewServer(rpc.ServerOptions{})
	d, err := newDoor(server, id, features{1, 1}, func() bool { return adoptable }, Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() {
		_ = d.close()
		_ = server.Close()
	})
	return d, l.Addr().String()
}

func TestAnEmptyDirectoryIsAdoptedOnlyByItsIncarnation(t *testing.T) {
	hello := transport.Hello{Cluster: 7, From: 1, FromIncarnation: 11, To: 4, ToIncarnation: 44, FeatureMin: 1, FeatureMax: 1}
	for _, x := range []struct {
		name      string
		adoptable bool
		change    func(*transport.Hello)
		want      bool
	}{
		{"named", true, func(*transport.Hello) {}, true},
		{"another incarnation", true, func(h *transport.Hello) { h.ToIncarnation = 45 }, false},
		{"no cluster", true, func(h *transport.Hello) { h.Cluster = 0 }, false},
		{"no ID", true, func(h *transport.Hello) { h.To = 0 }, false},
		{"promised to a static cluster", false, func(*transport.Hello) {}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			d, _ := openDoor(t, identity.Identity{Incarnation: 44, Name: "d"}, x.adoptable)
			h := hello
			x.change(&h)
			for range 2 {
				if _, err := d.Accept(h); err == nil {
					t.Error("an empty directory let a member in")
				}
			}
			select {
			case a := <-d.adopted:
				if !x.want || a != (adoption{cluster: 7, member: 4}) {
					t.Errorf("adopted: %+v", a)
				}
			default:
				if x.want {
					t.Error("not adopted")
				}
			}
		})
	}
}

func TestAMemberIsNotAdopted(t *testing.T) {
	d, _ := openDoor(t, identity.Identity{Incarnation: 44, ClusterID: 7, MemberID: 4}, true)
	_, _ = d.Accept(transport.Hello{Cluster: 8, From: 1, To: 5, ToIncarnation: 44, FeatureMin: 1, FeatureMax: 1})
	select {
	case a := <-d.adopted:
		t.Errorf("adopted: %+v", a)
	default:
	}
}

func TestABuildThatIsTooOldIsRefused(t *testing.T) {
	d, _ := openDoor(t, identity.Identity{Incarnation: 44, ClusterID: 7, MemberID: 4}, true)
	h := transport.Hello{Cluster: 7, From: 1, FromIncarnation: 11, To: 4, ToIncarnation: 44, FeatureMin: 1, FeatureMax: 1}
	if _, err := d.Accept(h); err != nil {
		t.Errorf("a member of the same level: %v", err)
	}
	d.enter(&inside{clusterVersion: func() uint32 { return 2 }})
	if _, err := d.Accept(h); rpc.ReasonOf(err) != string(transport.ReasonIncompatible) {
		t.Errorf("a member below the cluster version: %v", err)
	}
	d.leave()
}

func TestACommittedRemovalIsNoticed(t *testing.T) {
	d, _ := openDoor(t, identity.Identity{Incarnation: 44, ClusterID: 7, MemberID: 2}, true)
	with := raft.NewMembership(raft.Member{ID: 1, Incarnation: 11}, raft.Member{ID: 2, Incarnation: 44})
	without := raft.Membership{Members: with.Members[:1], LastID: 2, Index: 9}
	d.setMembership(without, with)
	select {
	case <-d.removed:
		t.Error("a removal that may be undone counts")
	default:
	}
	d.setMembership(without, without)
	d.refused(1, transport.ReasonRemoved, "you are out") // said twice does no harm
	select {
	case <-d.removed:
	default:
		t.Error("a committed removal was not noticed")
	}
}

func TestALearnerWithoutALogIsToldOfTheMembers(t *testing.T) {
	learnerID := identity.Identity{Incarnation: 22, ClusterID: 7, MemberID: 2}
	leader, leaderAddress := openDoor(t, identity.Identity{Incarnation: 11, ClusterID: 7, MemberID: 1}, true)
	learner, learnerAddress := openDoor(t, learnerID, true)
	m := raft.NewMembership(
		raft.Member{ID: 1, Incarnation: 11, PeerAddress: leaderAddress},
		raft.Member{ID: 2, Incarnation: 22, PeerAddress: learnerAddress, Learner: true},
	)
	m.Index = 5
	leader.setMembership(m, m)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if peers := learner.transport.Stats().Peers; len(peers) == 1 && peers[0].ID == 1 && peers[0].Connected {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the learner does not connect to the leader: %+v", learner.transport.Stats())
		}
	}
	older := raft.NewMembership(raft.Member{ID: 2, Incarnation: 22})
	older.Index = 4
	learner.introduced(older)
	if len(learner.transport.Stats().Peers) != 1 {
		t.Error("an older introduction replaced a newer one")
	}
}

func TestQuietLinesAreDetailsButForErrors(t *testing.T) {
	var h recording
	l := quiet(slog.New(&h)).With("a", 1).WithGroup("g")
	l.Info("i")
	l.Warn("w")
	l.Error("e")
	if len(h.levels) != 3 || h.levels[0] != slog.LevelDebug || h.levels[1] != slog.LevelDebug || h.levels[2] != slog.LevelError {
		t.Errorf("levels %v", h.levels)
	}
}

type recording struct{ levels []slog.Level }

func (r *recording) Enabled(context.Context, slog.Level) bool { return true }
func (r *recording) Handle(_ context.Context, x slog.Record) error {
	r.levels = append(r.levels, x.Level)
	return nil
}
func (r *recording) WithAttrs([]slog.Attr) slog.Handler { return r }
func (r *recording) WithGroup(string) slog.Handler      { return r }
