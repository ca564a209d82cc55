package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

// ServiceName is the name of the formation's service on the peer port, and the kind of its connections.
const ServiceName = "raftkv.static"

// Service is what the nodes of a static cluster ask each other.
type Service struct {
	Ask func(context.Context, *Answer) (*Answer, error)
}

const (
	// askTimeout bounds one question.
	askTimeout = 2 * time.Second
	// askInterval is the pause between two rounds.
	askInterval = 200 * time.Millisecond
	// reportInterval is the pause between two log lines that say the same.
	reportInterval = 10 * time.Second
)

// ErrJoin says that the static cluster exists and does not know this data directory.
var ErrJoin = errors.New("the static cluster exists with another data directory in this node's place")

// StaticMember is a member of a static cluster as its nodes are told of it.
type StaticMember struct {
	Name string
	// PeerAddress is the host:port of its peer listener.
	PeerAddress string
}

// Options describe a node of a static cluster.
type Options struct {
	Name        string
	Incarnation raft.Incarnation
	Token       string
	Members     []StaticMember
	// Dir is the data directory.
	Dir string
	// Formed says that the directory belongs to a member already.
	Formed bool
	Logger *slog.Logger
	Dial   rpc.DialFunc // nil means TCP
	// Interval is the pause between two rounds; zero means askInterval.
	Interval time.Duration
}

// Former forms a static cluster, and answers others that do.
type Former struct {
	options Options
	path    string

	mu   sync.Mutex
	self Answer
	// promised says that a table is stored or about to be.
	promised bool
}

// NewFormer reads what the directory has stored.
func NewFormer(options Options) (*Former, error) {
	if options.Interval == 0 {
		options.Interval = askInterval
	}
	f := &Former{options: options, path: filepath.Join(options.Dir, TableFile)}
	o, err := outline(options.Token, options.Members)
	if err != nil {
		return nil, err
	}
	stored, err := loadTable(f.path)
	if err != nil {
		return nil, err
	}
	f.self = Answer{Name: options.Name, Incarnation: options.Incarnation, Outline: o, Stored: stored, Formed: options.Formed}
	f.promised = stored != nil
	if stored == nil || options.Formed {
		return f, nil
	}
	if !stored.sameOutline(o) {
		return nil, fmt.Errorf("%s holds the table of another static cluster, which is still forming: give the same --initial-cluster and "+
			"--initial-cluster-token as before, or another --data-dir", f.path)
	}
	if m, _ := stored.Find(options.Name); m.Incarnation != options.Incarnation {
		return nil, fmt.Errorf("%s names the incarnation %v of this node, but its data directory is of incarnation %v: remove the file, or give another --data-dir",
			f.path, m.Incarnation, options.Incarnation)
	}
	return f, nil
}

// Register offers the service on the peer port's server.
func (f *Former) Register(server *rpc.Server) error {
	return rpc.Register(server, ServiceName, Service{Ask: f.answer})
}

func (f *Former) answer(context.Context, *Answer) (*Answer, error) {
	a := f.state()
	return &a, nil
}

func (f *Former) state() Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.self
}

// Stored tells whether this node has stored a table, so that its incarnation is spoken for.
func (f *Former) Stored() bool { return f.state().Stored != nil }

// Formed tells the others that this node has become a member.
func (f *Former) Formed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.self.Formed = true
}

// Adopt gives the directory to a cluster that has added it, and tells the others. It returns false when this node has stored a table, or is
// about to: then the directory is spoken for. From now on it stores none.
func (f *Former) Adopt() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.promised {
		return false
	}
	f.self.Formed = true
	return true
}

// Run asks the others until all have stored the same table, which it returns. ErrJoin means that this never will be.
func (f *Former) Run(ctx context.Context) (Table, error) {
	asker, err := newAsker(f.state().Outline.othersThan(f.options.Name), f.options.Dial)
	if err != nil {
		return Table{}, err
	}
	defer asker.close()
	var reported string
	var reportedAt time.Time
	for {
		self := f.state()
		answers, failed := asker.round(ctx, self)
		if ctx.Err() != nil {
			return Table{}, ctx.Err()
		}
		d := decide(self, answers, failed)
		switch d.action {
		case store:
			if err := f.store(d.table); err != nil {
				return Table{}, err
			}
			continue
		case form:
			return d.table, nil
		case join:
			return Table{}, fmt.Errorf("%w: %s", ErrJoin, describe(d.problems))
		case wait:
		}
		if text := describe(d.problems); text != reported || time.Since(reportedAt) >= reportInterval {
			f.options.Logger.Info("the static cluster is forming; nobody votes until all members agree", "waitingFor", text, "stored", self.Stored != nil)
			reported, reportedAt = text, time.Now()
		}
		select {
		case <-ctx.Done():
			return Table{}, ctx.Err()
		case <-time.After(f.options.Interval):
		}
	}
}

func describe(problems map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(problems)) {
		parts = append(parts, name+": "+problems[name])
	}
	return strings.Join(parts, "; ")
}

// errAdopted says that the directory became a member of a cluster while a static one was about to form.
var errAdopted = errors.New("the directory was added to a cluster")

func (f *Former) promise() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.promised = f.promised || !f.self.Formed
	return f.promised
}

// store makes the table durable before anyone hears of it.
func (f *Former) store(t Table) error {
	if !f.promise() {
		return errAdopted
	}
	if err := storeTable(f.path, t); err != nil {
		return fmt.Errorf("store the static cluster's table: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.self.Stored = &t
	f.options.Logger.Info("stored the table of the static cluster's members", "file", f.path, "members", len(t.Members))
	return nil
}

// asker keeps a connection to every other member.
type asker struct {
	peers    map[string]*rpc.Peer
	services map[string]*Service
}

func newAsker(members []TableMember, dial rpc.DialFunc) (*asker, error) {
	a := &asker{peers: map[string]*rpc.Peer{}, services: map[string]*Service{}}
	for _, m := range members {
		p := rpc.NewPeer(rpc.PeerOptions{Address: m.PeerAddress, Client: rpc.ClientOptions{Metadata: rpc.Metadata{rpc.MetaKind: ServiceName}, Dial: dial}})
		a.peers[m.Name], a.services[m.Name] = p, new(Service)
		if err := rpc.Bind(p, ServiceName, a.services[m.Name]); err != nil {
			a.close()
			return nil, err
		}
	}
	return a, nil
}

func (a *asker) close() {
	for _, p := range a.peers {
		_ = p.Close() // always nil
	}
}

// round asks all at the same time.
func (a *asker) round(ctx context.Context, self Answer) (map[string]Answer, map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	answers, failed := map[string]Answer{}, map[string]string{}
	for name, service := range a.services {
		asking.Go(func() {
			answer, err := service.Ask(ctx, &self)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				answers[name] = *answer
				return
			}
			failed[name] = err.Error()
			if _, why := a.peers[name].State(); why != nil {
				failed[name] = why.Error()
			}
		})
	}
	asking.Wait()
	return answers, failed
}
