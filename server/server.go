package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
	"github.com/raftkv/raftkv/server/answers"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/etcd"
	"github.com/raftkv/raftkv/server/member"
	"github.com/raftkv/raftkv/server/memory"
	"github.com/raftkv/raftkv/server/mux"
	"github.com/raftkv/raftkv/server/native"
	"github.com/raftkv/raftkv/server/quota"
	"github.com/raftkv/raftkv/server/rest"
	"github.com/raftkv/raftkv/server/secure"
	"github.com/raftkv/raftkv/server/status"
)

const (
	// handOverTimeout bounds the search for a new leader at a stop, drainTimeout the requests that are being answered then.
	handOverTimeout = 5 * time.Second
	drainTimeout    = 10 * time.Second
	// quietTimeout is how long a stop waits for a client that has connected and says nothing.
	quietTimeout = 500 * time.Millisecond
)

// Options are what a configuration does not say.
type Options struct {
	// Version is the build's.
	Version string
	// Log is where log lines go; nil means standard error.
	Log io.Writer
	// Listening, if not nil, is told the addresses once all listeners are open; port 0 has been replaced by then.
	Listening func(Addresses)
	// MemoryLimit is what the process may use, in bytes: the bounds of what it holds follow from it. Zero stands for no limit.
	MemoryLimit int64
}

// Addresses are what a node listens on.
type Addresses struct{ Client, Peer, Metrics []string }

// node is what all lives of a node share.
type node struct {
	cfg     config.Config
	options Options
	logger  *slog.Logger
	metrics *status.Metrics
	board   *admin.Board
	peers   []net.Listener // of the first life; see listenPeers
	between *secure.Peers
	bounds  memory.Bounds
	answers *answers.Bound // of all front ends together
	ready   readiness
	open    atomic.Bool // for gRPC clients; see door
	joins   sync.Once   // only in the first life; see join

	replica atomic.Pointer[replica.Replica]
	member  atomic.Pointer[member.Member]
}

// Run runs a node until ctx ends, and then stops it in order: leadership is handed over, requests that are being answered are
// finished, log and state are closed.
func Run(ctx context.Context, cfg config.Config, options Options) (err error) {
	if options.Log == nil {
		options.Log = os.Stderr
	}
	n := &node{cfg: cfg, options: options, board: admin.NewBoard(), metrics: status.NewMetrics(options.Version), bounds: memory.Fit(options.MemoryLimit)}
	n.answers = answers.New(int64(n.bounds.Answers), answers.DefaultPatience)
	n.logger = newLogger(options.Log, cfg, n.standing)
	for _, w := range cfg.Warnings {
		n.logger.Warn(w)
	}
	if cfg.AdminTokenFile != "" {
		if _, err := admin.ReadToken(cfg.AdminTokenFile); err != nil {
			return err
		}
	}
	quotaBytes, err := quota.Of(cfg.QuotaBackendBytes, cfg.DataDir)
	if err != nil {
		n.logger.Warn("the size of the file system is not known, so it may be full before the store is: give --quota-backend-bytes", "quotaBytes", quotaBytes, "reason", err)
	}
	n.logger.Info("starting", "version", options.Version, "dataDir", cfg.DataDir, "memoryLimit", options.MemoryLimit, "quotaBytes", quotaBytes)

	defer func() { closeAll(n.peers) }() // if no life has taken them
	fronts, err := n.openFronts()
	if err != nil {
		return err
	}
	defer fronts.close(n.logger)
	for ctx.Err() == nil {
		if err := n.live(ctx, fronts); err != nil {
			return err
		}
	}
	n.logger.Info("stopped")
	return nil
}

// standing is for log lines.
func (n *node) standing() (uint64, string) {
	r := n.replica.Load()
	if r == nil {
		return 0, ""
	}
	s := r.Status()
	if s.Term == 0 {
		return 0, ""
	}
	return uint64(s.Term), s.Role.String()
}

// publish tells those who wait for news.
func (n *node) publish() {
	ctx, cancel := context.WithTimeout(context.Background(), describeTimeout)
	defer cancel()
	n.announce(n.fresh(ctx))
}

// describeTimeout bounds how long a busy member is waited for.
const describeTimeout = time.Second

// Status describes the node; its generation is that of the board.
func (n *node) Status(ctx context.Context) admin.Status {
	s := admin.Status{Name: n.cfg.Name, Version: n.options.Version, State: admin.StateOpening, FeatureLevel: member.FeatureLevel, Members: []admin.MemberStatus{}}
	r := n.replica.Load()
	if r == nil {
		s.NotReady = "the node is opening its data directory"
		return s
	}
	now := r.Status()
	s.State = states[now.State]
	s.Incarnation, s.ClusterID, s.MemberID = now.Identity.Incarnation, now.Identity.ClusterID, now.Identity.MemberID
	s.Fenced = now.Fenced
	m := n.member.Load()
	switch {
	case m != nil:
		ctx, cancel := context.WithTimeout(ctx, describeTimeout)
		defer cancel()
		m.Describe(ctx, &s)
	case s.State == admin.StateMember:
		s.NotReady = "the node is opening its log and state, or closing them"
	case s.State == admin.StateForming:
		s.NotReady = "the static cluster is forming"
	case s.State == admin.StateRefounding:
		s.NotReady = "the node makes the state of a new cluster out of its own"
	case s.Fenced != "" && s.State == admin.StateRemoved:
		s.NotReady = "the member is fenced: " + s.Fenced
	case s.Fenced != "" && s.State == admin.StateEmpty:
		s.NotReady = "the node waits to be added to its cluster as a new member, and the old one to be removed, which an operator does by itself. " +
			"The member that it was is fenced: " + s.Fenced
	case s.State == admin.StateRemoved:
		s.NotReady = "the member was removed from the cluster"
	default:
		s.NotReady = "the node is empty and waits to be bootstrapped, or added to a cluster"
	}
	return s
}

// states are a replica's in the operator's words.
var states = map[replica.State]admin.NodeState{
	replica.StateEmpty: admin.StateEmpty, replica.StateForming: admin.StateForming, replica.StateMember: admin.StateMember,
	replica.StateRemoved: admin.StateRemoved, replica.StateRefounding: admin.StateRefounding, replica.StateStopped: admin.StateMember,
}

// fresh is the status with its generation.
func (n *node) fresh(ctx context.Context) admin.Status {
	return n.board.Refresh(func() admin.Status { return n.Status(ctx) })
}

// fronts are the listeners that stay open through all lives.
type fronts struct {
	addresses Addresses
	client    *http.Server
	etcd      *etcd.Server
	native    *native.Server
	metrics   *http.Server
	// plain and plainNative refuse clients without TLS where it is needed.
	plain       *http.Server
	plainNative *rpc.Server
	muxes       []*mux.Mux
	running     sync.WaitGroup
	told        sync.Once
}

func (n *node) openFronts() (*fronts, error) {
	keeper, err := n.openSecure()
	if err != nil {
		return nil, err
	}
	if n.between, err = secure.OpenPeers(n.cfg.PeerTLS, n.logger); err != nil {
		return nil, err
	}
	clients, err := listen("clients", n.cfg.ListenClient)
	if err != nil {
		return nil, err
	}
	metrics, err := listen("metrics", n.cfg.ListenMetrics)
	if err != nil {
		closeAll(clients)
		return nil, err
	}
	if n.peers, err = listen("peers", n.cfg.ListenPeer); err != nil {
		closeAll(append(clients, metrics...))
		return nil, err
	}
	n.metrics.Watch(status.Sources{Status: n.fresh, Raft: gauges{n}, Peers: gauges{n}, Store: gauges{n}})
	handler := rest.New(n.service, rest.Options{
		MaxKeyBytes: n.cfg.MaxKeyBytes, MaxValueBytes: n.cfg.MaxValueBytes, MaxRequestBytes: n.cfg.MaxRequestBytes,
		Answers: n.answers, ElectionTimeout: n.cfg.ElectionTimeout, Watching: n.metrics.Watching, Logger: n.logger,
	})
	front := n.newEtcd()
	gateway, err := front.Gateway()
	if err != nil {
		closeAll(append(clients, metrics...))
		return nil, err
	}
	pipelined, err := n.newNative()
	if err != nil {
		closeAll(append(clients, metrics...))
		return nil, err
	}
	own, told := status.Handler(n.fresh, n.metrics), n.metrics.HTTP(status.APIGateway, etcd.Streams, gateway)
	var withMetrics http.Handler
	if len(metrics) == 0 {
		withMetrics = own
	}
	f := &fronts{
		client:  newHTTPServer(withGRPC(front, n.serves, byPath(told, n.metrics.HTTP(status.APIREST, rest.Streams, handler), withMetrics)), n.logger),
		etcd:    front,
		native:  pipelined,
		metrics: newHTTPServer(withHealth(told, own), n.logger),
		plain:   newPlain(n.logger), plainNative: newPlainNative(n.logger),
	}
	bothVersions(f.client)
	f.client.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: int(min(n.cfg.MaxStreams, math.MaxInt32))}
	f.metrics.WriteTimeout = metricsTimeout
	f.client.RegisterOnShutdown(handler.Stop)
	for i, l := range clients {
		n.serveClients(f, l, n.cfg.ListenClient[i], keeper)
	}
	for i, l := range metrics {
		if n.cfg.ListenMetrics[i].TLS {
			l = keeper.Web(l)
		}
		f.running.Go(func() { serve("metrics", n.logger, func() error { return f.metrics.Serve(l) }) })
		f.addresses.Metrics = append(f.addresses.Metrics, l.Addr().String())
	}
	for _, l := range n.peers {
		f.addresses.Peer = append(f.addresses.Peer, l.Addr().String())
	}
	n.logger.Info("listening", "client", f.addresses.Client, "peer", f.addresses.Peer, "metrics", f.addresses.Metrics)
	return f, nil
}

// tell says once that everything is open.
func (f *fronts) tell(listening func(Addresses)) {
	if listening != nil {
		f.told.Do(func() { listening(f.addresses) })
	}
}

// drain finishes the clients' requests that are being answered and takes no new ones.
func (f *fronts) drain(logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	// First the doors, so that nobody comes in who would be thrown out unheard.
	for _, m := range f.muxes {
		quiet, stop := context.WithTimeout(ctx, quietTimeout)
		if err := m.Drain(quiet); err != nil && !errors.Is(err, net.ErrClosed) {
			logger.Debug("closing a listener", "error", err)
		}
		stop()
	}
	var calls sync.WaitGroup
	defer calls.Wait()
	calls.Go(func() { f.etcd.Stop(ctx) })
	calls.Go(func() { f.native.Stop(ctx) })
	if err := f.client.Shutdown(ctx); err != nil {
		logger.Warn("some clients were still waiting when the node stopped", "error", err)
	}
}

func (f *fronts) close(logger *slog.Logger) {
	f.drain(logger)
	err := errors.Join(f.client.Close(), f.metrics.Close(), f.plain.Close(), f.plainNative.Close())
	for _, m := range f.muxes {
		if closeErr := m.Close(); closeErr != nil && !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}
	f.running.Wait()
	if err != nil {
		logger.Debug("closing the listeners", "error", err)
	}
}
