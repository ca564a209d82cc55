package replica

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/replica/bootstrap"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/rpc"
)

// Replica is one member of a cluster, or waits to become one. Its methods may be called from any goroutine.
type Replica struct {
	cfg     Config
	logger  *slog.Logger
	dir     *identity.Dir
	prepare preparation
	server  *rpc.Server
	door    *door
	former  *bootstrap.Former // nil unless there is an InitialCluster
	address string

	member     atomic.Pointer[member]
	bootstraps chan bootstrapCall
	refounds   chan refoundCall
	serving    sync.WaitGroup

	stopOnce sync.Once
	stopping chan struct{}
	stopCtx  context.Context // set before stopping is closed
	began    chan struct{}   // closed when the member runs
	done     chan struct{}

	mu    sync.Mutex
	state State
	id    identity.Identity
	moved chan struct{} // closed and replaced when the state changes
	// fenced is why the member is fenced, or the one that the directory held last was.
	fenced string
	err    error
}

// Open opens the directory and the listener. When it returns nil a directory that belongs to a member runs as that member; an empty one
// goes on to become one, and Running tells when it has. An error about the content of a file changes nothing on the disk.
func Open(cfg Config) (_ *Replica, err error) {
	defer func() {
		if err != nil {
			closeAll(cfg.Listeners)
		}
	}()
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	r := &Replica{
		cfg: cfg, logger: cfg.Logger, prepare: preparation{cfg.OpenMachine, cfg.Logger},
		bootstraps: make(chan bootstrapCall), refounds: make(chan refoundCall),
		stopping: make(chan struct{}), began: make(chan struct{}), done: make(chan struct{}), moved: make(chan struct{}),
	}
	if len(cfg.Listeners) > 0 {
		r.address = cfg.Listeners[0].Addr().String()
	}
	if r.dir, err = identity.Open(cfg.Dir, cfg.Name); err != nil {
		return nil, err
	}
	if err := r.settleFence(); err != nil {
		return nil, errors.Join(err, r.dir.Close())
	}
	r.setState(r.firstState())
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	go r.live()
	return r, nil
}

func (r *Replica) firstState() State {
	switch {
	case !r.dir.Identity().Empty():
		return StateMember
	case len(r.cfg.InitialCluster) > 0:
		return StateForming
	}
	return StateEmpty
}

// open registers the services, serves, and starts the member if there is one.
func (r *Replica) open() error {
	id := r.dir.Identity()
	r.server = rpc.NewServer(rpc.ServerOptions{Logger: quiet(r.logger)})
	var err error
	if len(r.cfg.InitialCluster) > 0 {
		if r.former, err = r.newFormer(id); err != nil {
			return err
		}
		if err := r.former.Register(r.server); err != nil {
			return err
		}
	}
	adoptable := func() bool { return r.former == nil || !r.former.Stored() }
	if r.door, err = newDoor(r.server, id, features{r.cfg.MinFeatureLevel, r.cfg.FeatureLevel}, adoptable, r.cfg); err != nil {
		return err
	}
	if r.cfg.Services != nil {
		if err := r.cfg.Services(r, r.server); err != nil {
			return err
		}
	}
	listeners := r.cfg.Listeners
	r.cfg.Listeners = nil // they are the server's now
	for _, l := range listeners {
		r.serving.Go(func() {
			if err := r.server.Serve(l); !errors.Is(err, rpc.ErrServerClosed) {
				r.logger.Error("a listener failed", "port", "peer", "error", err)
			}
		})
	}
	if id.Empty() {
		return nil
	}
	return r.begin()
}

// begin runs the directory's member.
func (r *Replica) begin() error {
	m, err := startMember(r.dir.MemberPath(), r.dir.Identity(), r.cfg, r.door)
	if err != nil {
		return err
	}
	r.member.Store(m)
	r.setState(StateMember)
	close(r.began)
	return nil
}

// close ends the services, waits for them, and gives the directory back.
func (r *Replica) close() error {
	var err error
	if r.door != nil {
		err = r.door.close()
	}
	if r.server != nil {
		err = errors.Join(err, r.server.Close())
	}
	if err != nil {
		r.logger.Debug("closing the connections to members", "error", err)
	}
	closeAll(r.cfg.Listeners)
	r.serving.Wait()
	return r.dir.Close()
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close() // nothing was accepted from it
	}
}

// Stop hands leadership over, if this member leads and there is time for it within ctx, and stops. It returns when everything is closed.
func (r *Replica) Stop(ctx context.Context) error {
	r.stopOnce.Do(func() {
		r.stopCtx = ctx
		close(r.stopping)
	})
	<-r.done
	return r.Err()
}

// Done is closed when the replica has ended, by Stop or by itself; Err tells why.
func (r *Replica) Done() <-chan struct{} { return r.done }

// Err is nil before the end and after Stop, ErrRemoved after the member's removal, ErrRefounded after Refound, and otherwise what made it end: going on would have put
// data at risk.
func (r *Replica) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Running is closed when the directory's member runs here.
func (r *Replica) Running() <-chan struct{} { return r.began }

// Address is what the first listener listens on.
func (r *Replica) Address() string { return r.address }

// running waits for the member.
func (r *Replica) running(ctx context.Context) (*member, error) {
	select {
	case <-r.began:
		return r.member.Load(), nil
	case <-r.done:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, ErrUnavailable
	}
}

// now is the member, or nil.
func (r *Replica) now() *member { return r.member.Load() }

// Propose replicates a command and returns what Apply answered on this replica. It is applied at most once, whatever has to be asked again on the way;
// any replica takes it. Errors are those of this package and tell what is known of the outcome. The command must not be changed any more.
func (r *Replica) Propose(ctx context.Context, command []byte) ([]byte, error) {
	if r.cfg.StateMachine == nil {
		return nil, errors.New("replica: Propose needs a StateMachine; a Machine's commands go through Replicate")
	}
	x, err := r.Replicate(ctx, wrap(command))
	if err != nil {
		return nil, err
	}
	a, ok := x.(*answer)
	switch {
	case !ok:
		return nil, ErrUnknown
	case a.err != nil:
		return nil, a.err
	}
	return a.data, nil
}

// Replicate is Propose for a Machine, and returns its own kind of answer. It is nil if the state has jumped over the command by a snapshot and
// the Machine kept nothing of it.
func (r *Replica) Replicate(ctx context.Context, command []byte) (any, error) {
	m, err := r.running(ctx)
	if err != nil {
		return nil, err
	}
	return m.node.Propose(ctx, command)
}

// ReplicateInTerm is Replicate for what this replica has decided as the leader of that term, and that no other leader is to carry out: it is
// appended to this replica's own log while it leads that term, or refused.
func (r *Replica) ReplicateInTerm(ctx context.Context, term raft.Term, command []byte) (any, error) {
	m, err := r.running(ctx)
	if err != nil {
		return nil, err
	}
	return m.node.ProposeInTerm(ctx, term, command)
}

// Barrier returns once this replica's state holds everything that was committed when it was called: a read of it is then
// linearizable. Any replica may be asked; all that wait share one round of messages.
func (r *Replica) Barrier(ctx context.Context) error {
	m, err := r.running(ctx)
	if err != nil {
		return err
	}
	return m.node.ReadBarrier(ctx)
}

// Read waits for a Barrier and then runs read, while nothing is applied to a StateMachine: it sees everything that was acknowledged before Read was
// called, anywhere.
func (r *Replica) Read(ctx context.Context, read func()) error {
	if err := r.Barrier(ctx); err != nil {
		return err
	}
	return r.Look(read)
}

// Look runs read at once, on a state that may be behind that of others. It does not when there is no state yet (ErrUnavailable), or when that of a StateMachine
// is broken (ErrStopped): what was applied or restored by half is seen by nobody.
func (r *Replica) Look(read func()) error {
	m := r.now()
	if m == nil {
		return ErrUnavailable
	}
	if x, ok := m.machine.(*memory); ok {
		return x.look(read)
	}
	read()
	return nil
}

// live is the replica's life, from an empty directory, or one that belongs to a member, to its end.
func (r *Replica) live() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-r.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := r.becomeMember(ctx)
	if err == nil && r.now() != nil {
		err = r.beMember()
	}
	err = errors.Join(err, r.close())
	r.mu.Lock()
	for _, end := range []error{ErrRemoved, ErrRefounded} {
		if errors.Is(err, end) {
			err = end
		}
	}
	r.err = err
	r.mu.Unlock()
	r.setState(StateStopped)
	close(r.done)
}

// beMember waits until the member is to end.
func (r *Replica) beMember() error {
	m := r.now()
	var failure error
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	removed := false
	var refound *refoundCall
	known := raft.Membership{}
	changed := m.node.Changed()
	for waiting := true; waiting; {
		waiting = false
		select {
		case <-changed:
			changed = m.node.Changed() // before others are told, or a change in between would be told to nobody
			r.setState(StateMember)
			waiting = true
		case <-r.stopping:
			ctx = r.stopCtx
		case failure = <-m.fatal:
			cancel() // nothing to hand over
		case <-r.door.removed:
			removed = true
			r.logger.Warn("this member was removed from the cluster: its directory will be set aside")
			r.setState(StateRemoved)
			cancel()
		case call := <-r.refounds:
			err := r.leaderless()
			if call.taken <- err; err != nil {
				waiting = true
				continue
			}
			refound, known = &call, m.node.Summary().Membership
			r.setState(StateRefounding)
			cancel() // there is nobody to hand over to
		}
	}
	err := m.stop(ctx)
	switch {
	case failure != nil && errors.Is(err, failure):
		return err // a machine that has failed says so again when it is closed
	case failure != nil:
		return errors.Join(failure, err)
	case err != nil:
		return err
	case removed:
		return errors.Join(r.setAside(), ErrRemoved)
	case refound != nil:
		return r.refound(*refound, known)
	}
	return nil
}

// Node is the running member's, nil before: for what Status does not say.
func (r *Replica) Node() *node.Node {
	if m := r.now(); m != nil {
		return m.node
	}
	return nil
}
