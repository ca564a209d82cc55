package config

import (
	"log/slog"
	"net"
	"net/url"
	"time"
)

// Defaults of the settings that have one.
const (
	DefaultHeartbeatInterval = 50 * time.Millisecond
	DefaultElectionTimeout   = 500 * time.Millisecond
	DefaultSnapshotCount     = 50_000
	// DefaultAutoCompactionRetention is in revisions.
	DefaultAutoCompactionRetention = 100_000
	// DefaultMaxKeyBytes is the most that the store's format takes, since etcd bounds the request only.
	DefaultMaxKeyBytes = hardMaxKeyBytes
	// DefaultMaxValueBytes, DefaultMaxRequestBytes, DefaultMaxTxnOps and DefaultMaxLearners are etcd's limits.
	DefaultMaxValueBytes         = 3 << 19
	DefaultMaxRequestBytes       = 3 << 19
	DefaultMaxTxnOps             = 128
	DefaultMaxStreams            = 1 << 16
	DefaultMaxLearners           = 1
	DefaultWatchProgressInterval = 10 * time.Minute
	DefaultClusterToken          = "raftkv-cluster"
	// DefaultSelfSignedYears is etcd's.
	DefaultSelfSignedYears = 1
)

// Config is a node's complete, validated configuration.
type Config struct {
	// Name is the human's name for the node; in a static cluster it is one of the names in InitialCluster.
	Name    string
	DataDir string

	// The listeners; an empty list means that nothing is opened.
	ListenClient  []Listen
	ListenPeer    []Listen
	ListenMetrics []Listen
	// ClientTLS is of the listeners for clients and of those for metrics that have TLS, PeerTLS of those for peers, and of what is shown to peers
	// that are dialled.
	ClientTLS, PeerTLS TLS

	// AdvertiseClient is the host:port that clients reach the node by, with https:// before it if by TLS; it may be empty.
	AdvertiseClient string
	// AdvertisePeer is the host:port that peers reach the node by, with https:// before it if by TLS; it may be empty unless a static cluster is formed.
	AdvertisePeer string

	// InitialCluster is empty unless the node is to form a static cluster when its data directory is empty.
	InitialCluster []StaticMember
	// ExistingCluster are the other members of a running cluster, which the node asks for its place while its data directory is empty. It is empty
	// with an admin token, whose owner gives out places.
	ExistingCluster []StaticMember
	// InitialClusterToken tells static clusters apart.
	InitialClusterToken string
	// InitialClusterTokenSet says that the token was given and is not the default.
	InitialClusterTokenSet bool
	InitialClusterState    ClusterState

	HeartbeatInterval time.Duration
	ElectionTimeout   time.Duration
	// SnapshotBytesPerSecond bounds the snapshots that are sent, together; zero means no bound.
	SnapshotBytesPerSecond int
	// LeaseReads lets the leader answer linearizable reads without asking anyone while its lease holds, which rests on clocks that disagree by
	// at most ClockDriftPercent.
	LeaseReads        bool
	ClockDriftPercent int
	// SnapshotCount is the number of applied entries after which the log is compacted.
	SnapshotCount uint64
	// QuotaBackendBytes is zero where server/quota is to fit it to the file system.
	QuotaBackendBytes int64
	// AutoCompactionRetention is the number of revisions whose history the leader keeps, AutoCompactionAge the time that it keeps it
	// for; at most one is set, and neither keeps all.
	AutoCompactionRetention uint64
	AutoCompactionAge       time.Duration
	MaxKeyBytes             int
	MaxValueBytes           int
	// MaxRequestBytes bounds all keys and values of one request together.
	MaxRequestBytes int
	// MaxTxnOps bounds each list of a transaction.
	MaxTxnOps int
	// MaxStreams bounds the gRPC calls of one connection at a time.
	MaxStreams uint32
	// MaxLearners is the number of learners up to which clients of etcd's API may add one, where the node leads.
	MaxLearners int
	// WatchProgressInterval is how long a watch that asked for it is silent before it is told how far it is.
	WatchProgressInterval time.Duration
	// NoGateway leaves out the etcd v3 API as JSON.
	NoGateway bool

	// AdminTokenFile is the file that holds the cluster's admin token; without it admin calls are refused.
	AdminTokenFile string

	LogLevel  slog.Level
	LogFormat LogFormat

	// Warnings are what was given and means nothing, for the log.
	Warnings []string
}

// StaticMember is one NAME=URL of --initial-cluster.
type StaticMember struct {
	Name string
	// PeerAddress is the host:port of its peer listener, with https:// before it if it has TLS.
	PeerAddress string
}

// Listen is one address to listen on.
type Listen struct {
	// Address is host:port as net.Listen takes it, the host may be empty; or the path of a socket.
	Address string
	// Unix says that the address is a path.
	Unix bool
	// TLS says that it is served with TLS, Both that it is served without as well.
	TLS, Both bool
}

// String is the URL form.
func (l Listen) String() string {
	switch {
	case l.Unix && l.TLS:
		return unixSecureScheme + l.Address
	case l.Unix:
		return unixScheme + l.Address
	case l.TLS:
		return (&url.URL{Scheme: secure, Host: l.Address}).String()
	}
	return (&url.URL{Scheme: plain, Host: l.Address}).String()
}

// host is that of the address, empty if there is none.
func (l Listen) host() string {
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil || l.Unspecified() {
		return ""
	}
	return host
}

// Unspecified says that the address means all of the machine's addresses, so that it tells nobody where to dial.
func (l Listen) Unspecified() bool {
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil || l.Unix {
		return true
	}
	if host == "" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

// ClusterState is the value of --initial-cluster-state.
type ClusterState string

const (
	// ClusterNew: an empty node may form the static cluster.
	ClusterNew ClusterState = "new"
	// ClusterExisting: an empty node takes its place in a running cluster, or waits to be added to it.
	ClusterExisting ClusterState = "existing"
)

// LogFormat is the value of --log-format.
type LogFormat string

const (
	// LogText is for people.
	LogText LogFormat = "text"
	// LogJSON is for machines.
	LogJSON LogFormat = "json"
)
