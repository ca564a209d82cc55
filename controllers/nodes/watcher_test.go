package nodes

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

const eventually = time.Minute

var demo = types.NamespacedName{Namespace: "ns", Name: "demo"}

// node serves the admin service over rpc as a real one does, and answers what the test puts in.
type node struct {
	address string
	status  chan admin.Status // each is the answer to one waiting call
	server  *rpc.Server
	// token is what it takes, allowed the last that it took.
	token, allowed atomic.Value
	// hung is called when the node is asked for its status, if it is to be one that answers nothing from then on.
	hung atomic.Pointer[func()]
}

func serve(t *testing.T, name, token string) *node {
	t.Helper()
	n := &node{status: make(chan admin.Status, 1)}
	n.token.Store(token)
	n.server = rpc.NewServer(rpc.ServerOptions{})
	var last atomic.Pointer[admin.Status]
	last.Store(&admin.Status{Name: name, Generation: 1})
	err := rpc.Register(n.server, admin.ServiceName, admin.Service{
		Status: func(ctx context.Context, _ *admin.StatusRequest) (*admin.Status, error) {
			if hung := n.hung.Load(); hung != nil {
				(*hung)()
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return &admin.Status{Name: name, Term: 99}, nil
		},
		WaitStatus: func(ctx context.Context, r *admin.WaitStatusRequest) (*admin.Status, error) {
			if s := last.Load(); r.Generation != s.Generation {
				return s, nil
			}
			select {
			case s := <-n.status:
				last.Store(&s)
				return &s, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		Bootstrap: func(context.Context, *admin.BootstrapRequest) (*admin.Status, error) {
			return nil, errors.New("not asked")
		},
		ChangeMembership: func(context.Context, *admin.ChangeRequest) (*admin.ChangeResponse, error) {
			return nil, rpc.Refusal(admin.ReasonConfigMoved, "observe again")
		},
		TransferLeadership: func(context.Context, *admin.TransferRequest) (*admin.TransferResponse, error) {
			return nil, errors.New("not asked")
		},
	}, rpc.Authorize(func(_ context.Context, _ string, md rpc.Metadata, _ net.Addr) error {
		if md[admin.MetadataToken] != n.token.Load() {
			return rpc.Errorf(rpc.CodeUnauthenticated, "wrong token")
		}
		n.allowed.Store(md[admin.MetadataToken])
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.address = l.Addr().String()
	served := make(chan struct{})
	go func() { defer close(served); _ = n.server.Serve(l) }()
	t.Cleanup(func() { _ = n.server.Close(); <-served })
	return n
}

// watch starts a Watcher whose wakes arrive on the channel.
func watch(t *testing.T) (*Watcher, chan types.NamespacedName) {
	t.Helper()
	wakes := make(chan types.NamespacedName, 100)
	w := NewWatcher(DialRPC, func(c types.NamespacedName) { wakes <- c })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Start(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w, wakes
}

func awake(t *testing.T, wakes chan types.NamespacedName) {
	t.Helper()
	select {
	case c := <-wakes:
		if c != demo {
			t.Fatalf("woke %v", c)
		}
	case <-time.After(eventually):
		t.Fatal("nobody was woken")
	}
}

func TestChangesArriveAsAStream(t *testing.T) {
	n := serve(t, "demo-0", "secret")
	w, wakes := watch(t)
	w.Follow(demo, []Target{{UID: "u", Name: "demo-0", Address: n.address, Token: "secret"}})
	awake(t, wakes)
	n.status <- admin.Status{Name: "demo-0", Generation: 2, Role: "leader"}
	awake(t, wakes)
	if a := w.Last(demo, "u"); a.Err != nil || a.Status.Role != "leader" {
		t.Errorf("got %+v", a)
	}
	if a := w.Read(context.Background(), demo)["u"]; a.Err != nil || a.Status.Term != 99 {
		t.Errorf("a live read gave %+v, want what the node says now", a)
	}
}

// An operator that has just started must not call nodes silent that it has not asked yet.
func TestReadWaitsForTheFirstAnswer(t *testing.T) {
	n := serve(t, "demo-0", "secret")
	w, _ := watch(t)
	w.Follow(demo, []Target{
		{UID: "u", Name: "demo-0", Address: n.address, Token: "secret"},
		{UID: "x", Name: "demo-1", Address: "127.0.0.1:1", Token: "secret"},
	})
	answers := w.Read(context.Background(), demo)
	if a := answers["u"]; a.Err != nil || a.Status.Term != 99 {
		t.Errorf("got %+v, want what the node says", a)
	}
	if a := answers["x"]; a.Err == nil {
		t.Errorf("got %+v of a node that does not run", a)
	}
}

// Who waits for a node that was cut off a moment ago hears at once what the others have to say.
func TestAReadEndsWithNews(t *testing.T) {
	gone, other := serve(t, "demo-0", "secret"), serve(t, "demo-1", "secret")
	w, wakes := watch(t)
	w.Follow(demo, []Target{
		{UID: "gone", Name: "demo-0", Address: gone.address, Token: "secret"},
		{UID: "other", Name: "demo-1", Address: other.address, Token: "secret"},
	})
	awake(t, wakes)
	awake(t, wakes)
	elected := func() { other.status <- admin.Status{Name: "demo-1", Generation: 2, Role: "leader"} }
	gone.hung.Store(&elected)
	answers := w.ReadUntilNews(t.Context(), demo, w.News(demo))
	if a := answers["gone"]; a.Err != nil || a.Status.Generation != 1 {
		t.Errorf("the node that is cut off is said to answer %+v, want what it said last", a)
	}
	if a := w.Last(demo, "other"); a.Err != nil || a.Status.Role != "leader" {
		t.Errorf("the other says %+v", a)
	}
	quiet := func() {}
	gone.hung.Store(&quiet)
	if a := w.ReadUntilNews(t.Context(), demo, w.News(demo))["gone"]; a.Err == nil {
		t.Errorf("without news, a node that does not answer says %+v", a)
	}
	if a := w.Read(t.Context(), demo)["gone"]; a.Err == nil {
		t.Errorf("a node that does not answer says %+v", a)
	}
}

func TestErrorsKeepTheirReasons(t *testing.T) {
	n := serve(t, "demo-0", "secret")
	w, wakes := watch(t)
	w.Follow(demo, []Target{{UID: "u", Name: "demo-0", Address: n.address, Token: "secret"}})
	awake(t, wakes)
	s, err := w.Service(demo, "u")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ChangeMembership(context.Background(), &admin.ChangeRequest{}); rpc.ReasonOf(err) != admin.ReasonConfigMoved {
		t.Errorf("got error %v, want reason %s", err, admin.ReasonConfigMoved)
	}
}

func TestLostNodeWakesAndDoesNotAnswer(t *testing.T) {
	n := serve(t, "demo-0", "secret")
	w, wakes := watch(t)
	w.Follow(demo, []Target{{UID: "u", Name: "demo-0", Address: n.address, Token: "secret"}})
	awake(t, wakes)
	_ = n.server.Close()
	awake(t, wakes)
	if a := w.Last(demo, "u"); a.Err == nil {
		t.Errorf("got %+v, want an error", a)
	}
	if a := w.Read(context.Background(), demo)["u"]; a.Err == nil {
		t.Errorf("got %+v, want an error", a)
	}
}

func TestWrongTokenAndWrongPodDoNotCount(t *testing.T) {
	n := serve(t, "demo-0", "secret")
	for name, target := range map[string]Target{
		"wrong token": {UID: "u", Name: "demo-0", Address: n.address, Token: "guess"},
		"wrong pod":   {UID: "u", Name: "demo-1", Address: n.address, Token: "secret"},
	} {
		w, _ := watch(t)
		w.Follow(demo, []Target{target})
		deadline := time.Now().Add(eventually)
		for !strings.Contains(w.Last(demo, "u").Err.Error(), map[string]string{"wrong token": "wrong token", "wrong pod": `is "demo-0" and not "demo-1"`}[name]) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: got %v", name, w.Last(demo, "u").Err)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func TestForgottenPodsAreNotAsked(t *testing.T) {
	n := serve(t, "demo-0", "secret")
	w, wakes := watch(t)
	w.Follow(demo, []Target{{UID: "u", Name: "demo-0", Address: n.address, Token: "secret"}})
	awake(t, wakes)
	w.Follow(demo, nil)
	w.running.Wait()
	if a := w.Last(demo, "u"); !errors.Is(a.Err, ErrNotFollowed) {
		t.Errorf("got %+v", a)
	}
	if _, err := w.Service(demo, "u"); !errors.Is(err, ErrNotFollowed) {
		t.Errorf("got error %v", err)
	}
}

// A new token reaches operator and nodes at different times: at no time is the node called silent, and in the end the new one is in use.
func TestANewTokenIsTakenOverWithoutASilence(t *testing.T) {
	n := serve(t, "demo-0", "old")
	w, wakes := watch(t)
	follow := func(token string) {
		w.Follow(demo, []Target{{UID: "u", Name: "demo-0", Address: n.address, Token: token}})
	}
	answers := func(when string) {
		t.Helper()
		if a := w.Last(demo, "u"); a.Err != nil {
			t.Fatalf("%s: %v", when, a.Err)
		}
		if a := w.Read(context.Background(), demo)["u"]; a.Err != nil {
			t.Fatalf("%s: %v", when, a.Err)
		}
	}
	follow("old")
	awake(t, wakes)
	follow("wrong") // somebody mistyped it, and corrects that
	follow("new")
	for range 50 {
		answers("while the node takes the old one")
	}
	n.token.Store("new")
	for deadline := time.Now().Add(eventually); n.allowed.Load() != "new"; time.Sleep(time.Millisecond) {
		answers("while the node takes the new one")
		if time.Now().After(deadline) {
			t.Fatal("the new token was never tried again")
		}
	}
	// The stream goes on over the new connection.
	n.status <- admin.Status{Name: "demo-0", Generation: 7, Role: "leader"}
	for deadline := time.Now().Add(eventually); w.Last(demo, "u").Status.Role != "leader"; time.Sleep(time.Millisecond) {
		answers("over the new connection")
		if time.Now().After(deadline) {
			t.Fatal("no news came")
		}
	}
	for deadline := time.Now().Add(eventually); w.follower(demo, "u").current().token != "new"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the old connection is still in use")
		}
	}
	if s, err := w.Service(demo, "u"); err != nil {
		t.Fatal(err)
	} else if _, err := s.Status(context.Background(), &admin.StatusRequest{}); err != nil {
		t.Errorf("a call over the new connection: %v", err)
	}
	// A token that is changed back before the node took the other is the one in use already.
	follow("other")
	follow("new")
	answers("changed back")
	follow("other")
	w.Follow(demo, nil)
	w.running.Wait()
}
