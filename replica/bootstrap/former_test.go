package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/test/loopback"
)

const patience = time.Minute

// station is one node's peer port; the node behind it can be exchanged.
type station struct {
	t        *testing.T
	name     string
	dir      string
	listener net.Listener
	server   *rpc.Server
	former   *Former
}

type outcome struct {
	table Table
	err   error
}

func stations(t *testing.T, names ...string) ([]*station, []StaticMember) {
	t.Helper()
	var out []*station
	var flags []StaticMember
	for _, n := range names {
		l, err := net.Listen("tcp", loopback.MustAddress(t)) // some come back there
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &station{t: t, name: n, dir: t.TempDir(), listener: l})
		flags = append(flags, StaticMember{Name: n, PeerAddress: l.Addr().String()})
	}
	return out, flags
}

// start serves and forms with the given incarnation.
func (s *station) start(flags []StaticMember, incarnation raft.Incarnation) <-chan outcome {
	s.t.Helper()
	former, err := NewFormer(Options{
		Name: s.name, Incarnation: incarnation, Token: "t", Members: flags, Dir: s.dir,
		Logger: slog.New(slog.DiscardHandler), Interval: 5 * time.Millisecond,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.former, s.server = former, rpc.NewServer(rpc.ServerOptions{})
	if err := former.Register(s.server); err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = s.server.Serve(s.listener) }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.t.Cleanup(func() { cancel(); _ = s.server.Close() })
	done := make(chan outcome, 1)
	go func() {
		table, err := former.Run(ctx)
		if err == nil {
			former.Formed()
		}
		done <- outcome{table, err}
	}()
	return done
}

func (s *station) waitStored() {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if s.former.Stored() {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s has stored nothing", s.name)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestThreeNodesFormOneCluster(t *testing.T) {
	nodes, flags := stations(t, "a", "b", "c")
	var waiting []<-chan outcome
	for i, n := range nodes {
		waiting = append(waiting, n.start(flags, raft.Incarnation(i+1)))
	}
	var first outcome
	for i, w := range waiting {
		o := <-w
		if o.err != nil {
			t.Fatal(o.err)
		}
		if i == 0 {
			first = o
		}
		if !o.table.equal(first.table) || o.table.ClusterID() != first.table.ClusterID() {
			t.Errorf("%s formed another cluster: %+v", nodes[i].name, o.table)
		}
		if stored, err := loadTable(filepath.Join(nodes[i].dir, TableFile)); err != nil || !stored.equal(first.table) {
			t.Errorf("%s stored %v, %v", nodes[i].name, stored, err)
		}
	}
}

func TestNobodyFormsWhileOneIsMissing(t *testing.T) {
	nodes, flags := stations(t, "a", "b", "c")
	if err := nodes[2].listener.Close(); err != nil {
		t.Fatal(err)
	}
	a, b := nodes[0].start(flags, 1), nodes[1].start(flags, 2)
	select {
	case o := <-a:
		t.Errorf("a went on without c: %+v", o)
	case o := <-b:
		t.Errorf("b went on without c: %+v", o)
	case <-time.After(200 * time.Millisecond):
	}
	if nodes[0].former.Stored() || nodes[1].former.Stored() {
		t.Error("a table was stored without the incarnation of c")
	}
}

func TestOneNodeAloneForms(t *testing.T) {
	nodes, flags := stations(t, "a")
	if o := <-nodes[0].start(flags, 5); o.err != nil || o.table.Members[0].Incarnation != 5 {
		t.Errorf("%+v", o)
	}
}

func TestALostDirectoryWaitsToBeAdded(t *testing.T) {
	nodes, flags := stations(t, "a", "b")
	a, b := nodes[0].start(flags, 1), nodes[1].start(flags, 2)
	if o := <-a; o.err != nil {
		t.Fatal(o.err)
	}
	if o := <-b; o.err != nil {
		t.Fatal(o.err)
	}
	_ = nodes[1].server.Close()
	address := nodes[1].listener.Addr().String()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	again := &station{t: t, name: "b", dir: t.TempDir(), listener: l}
	if o := <-again.start(flags, 3); !errors.Is(o.err, ErrJoin) {
		t.Errorf("a fresh directory of a formed cluster: %+v", o)
	}
}

// A member that was added in the place of one of the first has no table, also when it was started again: a fresh directory asks nobody else to know that there is a cluster.
func TestALostDirectoryOfAClusterWithoutItsFirstMembersWaitsToBeAdded(t *testing.T) {
	nodes, flags := stations(t, "a", "b", "c")
	for i, n := range nodes[:2] {
		former, err := NewFormer(Options{Name: n.name, Incarnation: raft.Incarnation(i + 11), Token: "t", Members: flags, Dir: n.dir, Formed: true})
		if err != nil {
			t.Fatal(err)
		}
		server := rpc.NewServer(rpc.ServerOptions{})
		if err := former.Register(server); err != nil {
			t.Fatal(err)
		}
		go func() { _ = server.Serve(n.listener) }()
		t.Cleanup(func() { _ = server.Close() })
	}
	if o := <-nodes[2].start(flags, 13); !errors.Is(o.err, ErrJoin) || nodes[2].former.Stored() {
		t.Errorf("%+v, a table is stored: %t", o, nodes[2].former.Stored())
	}
}

// A directory speaks for one cluster: for that which adopted it, or for that whose table it stored.
func TestADirectoryIsAdoptedOrPromised(t *testing.T) {
	for _, adoptFirst := range []bool{true, false} {
		f, err := NewFormer(Options{Name: "a", Incarnation: 1, Token: "t", Members: members("a"), Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if adoptFirst && !f.Adopt() {
			t.Error("an empty directory is not adopted")
		}
		table := f.state().Outline.clone()
		table.Members[0].Incarnation = 1
		if err := f.store(table); (err != nil) != adoptFirst || f.Stored() == adoptFirst {
			t.Errorf("adopted first %t: storing gives %v, a table is stored: %t", adoptFirst, err, f.Stored())
		}
		if adopted := f.Adopt(); adopted != adoptFirst {
			t.Errorf("adopted first %t: adopted behind that: %t", adoptFirst, adopted)
		}
	}
}

func TestAStoredTableSurvivesARestart(t *testing.T) {
	nodes, flags := stations(t, "a", "b")
	// b has stored the table and a has formed, but b was killed before it heard of it.
	a, b := nodes[0].start(flags, 1), nodes[1].start(flags, 2)
	nodes[1].waitStored()
	<-a
	<-b
	_ = nodes[1].server.Close()
	l, err := net.Listen("tcp", nodes[1].listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again := &station{t: t, name: "b", dir: nodes[1].dir, listener: l}
	if o := <-again.start(flags, 2); o.err != nil {
		t.Error(o.err)
	}
	for _, x := range []struct {
		options Options
		want    string
	}{
		{Options{Name: "b", Incarnation: 2, Token: "other", Members: flags, Dir: nodes[1].dir}, "table of another static cluster"},
		{Options{Name: "b", Incarnation: 9, Token: "t", Members: flags, Dir: nodes[1].dir}, "names the incarnation"},
	} {
		if _, err := NewFormer(x.options); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("got %v, want %q", err, x.want)
		}
	}
}

func TestADamagedTableIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, TableFile)
	if err := os.WriteFile(path, []byte("raftkv-static 1 2 00000000\n{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := NewFormer(Options{Name: "a", Incarnation: 1, Token: "t", Members: members("a"), Dir: dir})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("file %s, offset", path)) {
		t.Errorf("got %v", err)
	}
}
