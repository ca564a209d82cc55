package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

type fakeNode struct {
	mu        sync.Mutex
	status    Status
	changeErr error
	changed   []raft.Change
}

func (f *fakeNode) Status(context.Context) Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fakeNode) set(change func(*Status)) Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
	return f.status
}

func (f *fakeNode) Bootstrap(_ context.Context, r BootstrapRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Incarnation != f.status.Incarnation {
		return rpc.Refusal(ReasonIncarnation, "another incarnation")
	}
	f.status.State, f.status.ClusterID = StateMember, r.ClusterID
	return nil
}

func (f *fakeNode) Change(_ context.Context, i raft.Index, c ...raft.Change) ([]raft.NodeID, raft.Index, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = c
	return []raft.NodeID{4, 2}, i + 1, f.changeErr
}

func (f *fakeNode) Transfer(_ context.Context, to raft.NodeID) (raft.NodeID, error) { return to, nil }

func (f *fakeNode) Refound(_ context.Context, r RefoundRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Incarnation != f.status.Incarnation {
		return rpc.Refusal(ReasonIncarnation, "another incarnation")
	}
	f.status.State, f.status.ClusterID = StateRefounding, r.NewClusterID
	return nil
}

func (f *fakeNode) Abandon(_ context.Context, r AbandonRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.ClusterID != f.status.ClusterID {
		return rpc.Refusal(ReasonOtherCluster, "another cluster")
	}
	f.status.State = StateRemoved
	return nil
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

type bench struct {
	node    *fakeNode
	board   *Board
	server  *rpc.Server
	address string
	// tokenFile is empty if there is none.
	tokenFile string
}

func start(t *testing.T, token string) *bench {
	t.Helper()
	b := prepare(t, token)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = b.server.Serve(l) }()
	b.address = l.Addr().String()
	return b
}

// prepare is start without a listener.
func prepare(t *testing.T, token string) *bench {
	t.Helper()
	b := &bench{server: rpc.NewServer(rpc.ServerOptions{}), node: &fakeNode{status: Status{Name: "a", State: StateEmpty, Incarnation: 5}}, board: NewBoard()}
	if token != "" {
		b.tokenFile = filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(b.tokenFile, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Register(b.server, b.node, b.board, b.tokenFile); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.server.Close() })
	return b
}

func (b *bench) bind(t *testing.T, token string) (*Service, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	c, err := rpc.Dial(ctx, b.address, rpc.ClientOptions{Metadata: rpc.Metadata{MetadataToken: token}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	var s Service
	return &s, rpc.BindContext(ctx, c, ServiceName, &s)
}

func (b *bench) mustBind(t *testing.T) *Service {
	t.Helper()
	s, err := b.bind(t, "secret")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOnlyTheTokenOpensTheService(t *testing.T) {
	b := start(t, "secret")
	b.mustBind(t)
	for _, wrong := range []string{"", "secre", "secrets", "Secret"} {
		if _, err := b.bind(t, wrong); !errors.Is(err, rpc.CodeUnauthenticated) {
			t.Errorf("token %q: %v", wrong, err)
		}
	}
	if _, err := start(t, "").bind(t, ""); !errors.Is(err, rpc.CodeUnauthenticated) || !strings.Contains(err.Error(), "--admin-token-file") {
		t.Errorf("a node without a token: %v", err)
	}
}

func TestWaitStatusAnswersWhenSomethingHappens(t *testing.T) {
	b := start(t, "secret")
	s := b.mustBind(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	first, err := s.Status(ctx, &StatusRequest{})
	if err != nil || first.Name != "a" {
		t.Fatal(first, err)
	}
	if again, err := s.Status(ctx, &StatusRequest{}); err != nil || again.Generation != first.Generation {
		t.Errorf("the generation moved without news: %+v, %v", again, err)
	}
	got := make(chan *Status, 1)
	go func() {
		status, err := s.WaitStatus(ctx, &WaitStatusRequest{Generation: first.Generation})
		if err != nil {
			t.Error(err)
		}
		got <- status
	}()
	b.board.Update(b.node.set(func(x *Status) { x.Commit, x.Applied = 10, 9 }))
	select {
	case status := <-got:
		t.Errorf("an index woke the waiter: %+v", status)
	case <-time.After(20 * time.Millisecond):
	}
	b.board.Update(b.node.set(func(x *Status) { x.Leader = 3 }))
	if status := <-got; status == nil || status.Leader != 3 || status.Generation == first.Generation || status.Commit != 10 {
		t.Errorf("got %+v", status)
	}
	if status, err := s.WaitStatus(ctx, &WaitStatusRequest{Generation: first.Generation}); err != nil || status.Leader != 3 {
		t.Errorf("news that came before the call: %+v, %v", status, err)
	}
}

func TestWaitStatusAnswersBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time is virtual: a busy machine takes more than the margin
		b := prepare(t, "secret")
		ours, theirs := net.Pipe()
		go func() { _ = b.server.ServeConn(theirs) }()
		c, err := rpc.NewClient(t.Context(), ours, rpc.ClientOptions{Metadata: rpc.Metadata{MetadataToken: "secret"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		var s Service
		if err := rpc.Bind(c, ServiceName, &s); err != nil {
			t.Fatal(err)
		}
		now, err := s.Status(t.Context(), &StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		const timeout = time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		began := time.Now()
		if status, err := s.WaitStatus(ctx, &WaitStatusRequest{Generation: now.Generation}); err != nil || status.Generation != now.Generation {
			t.Errorf("%+v, %v", status, err)
		}
		if took := time.Since(began); took != timeout-waitMargin {
			t.Errorf("it answers after %v", took)
		}
	})
}

func TestWhatIsNews(t *testing.T) {
	base := Status{State: StateMember, Members: []MemberStatus{{Member: raft.Member{ID: 1}}, {Member: raft.Member{ID: 2, Learner: true}}}}
	clone := func() Status {
		s := base
		s.Members = append([]MemberStatus(nil), base.Members...)
		return s
	}
	for _, x := range []struct {
		name   string
		change func(*Status)
		news   bool
	}{
		{"nothing", func(*Status) {}, false},
		{"commit", func(s *Status) { s.Commit++ }, false},
		{"match", func(s *Status) { s.Members[1].Match++ }, false},
		{"a voter behind", func(s *Status) { s.Members[0].CaughtUp = true }, false},
		{"a learner caught up", func(s *Status) { s.Members[1].CaughtUp = true }, true},
		{"a silent member", func(s *Status) { s.Members[0].Active = true }, true},
		{"an address", func(s *Status) { s.Members[0].PeerAddress = "x" }, true},
		{"one member less", func(s *Status) { s.Members = s.Members[:1] }, true},
		{"readiness", func(s *Status) { s.Ready = true }, true},
		{"term", func(s *Status) { s.Term++ }, true},
	} {
		b := NewBoard()
		b.Update(base)
		before, _ := b.Status()
		next := clone()
		x.change(&next)
		b.Update(next)
		if after, _ := b.Status(); (after.Generation != before.Generation) != x.news {
			t.Errorf("%s: generation %d, then %d", x.name, before.Generation, after.Generation)
		}
	}
}

func TestErrorsCarryTheirReason(t *testing.T) {
	b := start(t, "secret")
	s := b.mustBind(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for err, reason := range map[error]string{
		raft.ErrNotLeader: ReasonNotLeader, raft.ErrConfigMoved: ReasonConfigMoved, raft.ErrChangePending: ReasonChangePending,
		raft.ErrUnsafeChange: ReasonUnsafe, raft.ErrNotCaughtUp: ReasonNotCaughtUp, raft.ErrJointVersion: ReasonJointVersion, fmt.Errorf("%w: no", raft.ErrChangeRefused): ReasonRefused, fmt.Errorf("%w: no", raft.ErrTransferRefused): ReasonRefused,
	} {
		b.node.changeErr = err
		if _, got := s.ChangeMembership(ctx, &ChangeRequest{Changes: []raft.Change{{Kind: raft.ChangePromote, ID: 4}}}); rpc.ReasonOf(got) != reason {
			t.Errorf("%v became %v", err, got)
		}
	}
	b.node.changeErr = nil
	resp, err := s.ChangeMembership(ctx, &ChangeRequest{ConfigIndex: 7, Changes: []raft.Change{{Kind: raft.ChangeAddLearner, Member: raft.Member{Incarnation: 9, Name: "d"}}, {Kind: raft.ChangeRemove, ID: 2}}})
	if err != nil || !slices.Equal(resp.IDs, []raft.NodeID{4, 2}) || resp.ConfigIndex != 8 || b.node.changed[0].Member.Name != "d" || b.node.changed[1].ID != 2 {
		t.Errorf("%+v, %v, %+v", resp, err, b.node.changed)
	}
	if resp, err := s.TransferLeadership(ctx, &TransferRequest{To: 2}); err != nil || resp.Leader != 2 {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestBootstrap(t *testing.T) {
	b := start(t, "secret")
	s := b.mustBind(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := s.Bootstrap(ctx, &BootstrapRequest{ClusterID: 1, Incarnation: 5}); !errors.Is(err, rpc.CodeInvalid) {
		t.Errorf("without an address: %v", err)
	}
	req := &BootstrapRequest{ClusterID: 1, Incarnation: 6, Member: raft.Member{PeerAddress: "h:1"}}
	if _, err := s.Bootstrap(ctx, req); rpc.ReasonOf(err) != ReasonIncarnation {
		t.Errorf("another incarnation: %v", err)
	}
	req.Incarnation = 5
	if status, err := s.Bootstrap(ctx, req); err != nil || status.State != StateMember || status.ClusterID != 1 {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestTokenFilesThatAreNoUse(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": " \n", "long": strings.Repeat("x", maxTokenBytes+1)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadToken(path); err == nil {
			t.Errorf("%s file accepted", name)
		}
	}
	if _, err := ReadToken(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}
