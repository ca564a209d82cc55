package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/replica/bootstrap"
	"github.com/raftkv/raftkv/rpc"
)

// Defaults of the settings that have one.
const (
	DefaultHeartbeatInterval = 50 * time.Millisecond
	DefaultElectionTimeout   = 500 * time.Millisecond
	DefaultSnapshotEntries   = 10_000
)

// Member is a replica that a cluster begins with.
type Member = bootstrap.StaticMember

// Config says what a replica is made of. Dir, Name, one of Listen, Listeners and Alone, and one of StateMachine and OpenMachine are needed.
type Config struct {
	// Dir is the data directory. It belongs to the replica, is made when it is missing, and is locked.
	Dir string
	// Name is the human's name for the replica; the directory keeps it.
	Name string
	// Listen is the host:port for the other members, and for Services.
	Listen string
	// Listeners are used instead of Listen; the replica closes them.
	Listeners []net.Listener
	// Alone listens for nobody: none but the only member of a cluster can do that.
	Alone bool

	// InitialCluster names all members that a new cluster begins with, this one among them; all are given the same. It counts only
	// while the directory is empty. Without it an empty replica waits for Bootstrap, or for a leader that adds it (Add).
	InitialCluster []Member
	// InitialToken tells clusters that begin with the same names apart.
	InitialToken string
	// AnyToken takes a directory of a cluster that began with another token.
	AnyToken bool

	// StateMachine is the application's.
	StateMachine StateMachine
	// OpenMachine is called instead, once when the directory becomes a member's, and at each start.
	OpenMachine func(Place) (Machine, error)
	// Services, if not nil, registers the application's own services on the listeners' server, before anyone is served and before the
	// member runs.
	Services func(*Replica, *rpc.Server) error

	// MinFeatureLevel and FeatureLevel are the feature levels that the application's build can run at: a new format is written once
	// Status.ClusterVersion says that every member reads it. Zero means 1.
	MinFeatureLevel, FeatureLevel uint32

	// HeartbeatInterval and ElectionTimeout are the same on all members. Zero means the defaults.
	HeartbeatInterval, ElectionTimeout time.Duration
	// LeaseReads lets the leader answer reads without asking anyone while its lease holds. It is right only as long as the clocks of two members
	// disagree over an election timeout by at most ClockDriftPercent (zero means raft.DefaultClockDriftPercent), and followers that see
	// their leader's process die wait for an election timeout all the same.
	LeaseReads        bool
	ClockDriftPercent int
	// SnapshotEntries is the number of applied entries after which the state is saved and the log cut. Zero means the default.
	SnapshotEntries uint64
	// LogBounds are what the log may take in memory.
	LogBounds node.LogBounds

	// Logger may be nil: nothing is logged then.
	Logger *slog.Logger
	// Observer, if not nil, is told what is worth measuring.
	Observer node.Observer
	// Dial replaces TCP, for TLS and for tests.
	Dial rpc.DialFunc
	// Tune, if not nil, may change the rest of the transport's settings.
	Tune func(*transport.Config)
}

func (cfg *Config) complete() error {
	switch {
	case cfg.Dir == "" || cfg.Name == "":
		return errors.New("replica: Config needs a Dir and a Name")
	case (cfg.StateMachine == nil) == (cfg.OpenMachine == nil):
		return errors.New("replica: Config needs either a StateMachine or OpenMachine")
	case cfg.Alone && (cfg.Listen != "" || len(cfg.Listeners) > 0):
		return errors.New("replica: Config has an address to listen on, and Alone")
	case !cfg.Alone && (cfg.Listen == "") == (len(cfg.Listeners) == 0):
		return errors.New("replica: Config needs either Listen or Listeners")
	}
	if cfg.HeartbeatInterval == 0 {
		cfg.HeartbeatInterval = DefaultHeartbeatInterval
	}
	if cfg.ElectionTimeout == 0 {
		cfg.ElectionTimeout = DefaultElectionTimeout
	}
	if cfg.SnapshotEntries == 0 {
		cfg.SnapshotEntries = DefaultSnapshotEntries
	}
	cfg.MinFeatureLevel = max(cfg.MinFeatureLevel, bootstrap.FirstClusterVersion)
	cfg.FeatureLevel = max(cfg.FeatureLevel, cfg.MinFeatureLevel)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OpenMachine == nil {
		cfg.OpenMachine = func(p Place) (Machine, error) { return openMemory(cfg.StateMachine, p) }
	}
	if cfg.Alone || len(cfg.Listeners) > 0 {
		return nil
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("replica: listen on %s: %w: is another process there, or is the address not this machine's?", cfg.Listen, err)
	}
	cfg.Listeners = []net.Listener{l}
	return nil
}

// What may become of a command or a read. Texts behind a wrap say why.
var (
	// ErrUnavailable: surely not applied; the same may be asked again, anywhere.
	ErrUnavailable = node.ErrUnavailable
	// ErrBusy: surely not applied, because a bounded queue is full; ask again later.
	ErrBusy = node.ErrBusy
	// ErrUnknown: perhaps applied.
	ErrUnknown = node.ErrUnknown
	// ErrTooLarge: never applied.
	ErrTooLarge = node.ErrTooLarge
	// ErrStopped: surely not applied, and this replica has ended.
	ErrStopped = node.ErrStopped
	// ErrAnswerLost: applied once, but a snapshot has taken the place of the entry, and its answer was too large to be kept.
	ErrAnswerLost = errors.New("applied, but the answer is lost: it was too large to be kept with the session")
)

// Why a replica has ended or refuses.
var (
	// ErrRemoved: the cluster has removed this member. Its data was set aside in the directory; opened again, the replica is empty
	// and can be added as a new member.
	ErrRemoved = errors.New("this member was removed from its cluster: its data is set aside; open the directory again to join as a new member")
	// ErrNotEmpty: the directory belongs to a member already.
	ErrNotEmpty = errors.New("the data directory is not empty")
	// ErrIncarnation: another data directory was meant.
	ErrIncarnation = errors.New("another incarnation of the data directory was meant: look again")
)
