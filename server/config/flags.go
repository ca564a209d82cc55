package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/transport"
)

// Names of the settings, as flags and as keys of the configuration file.
const (
	keyConfigFile          = "config-file"
	keyName                = "name"
	keyDataDir             = "data-dir"
	keyListenClient        = "listen-client-urls"
	keyListenClientHTTP    = "listen-client-http-urls"
	keyListenPeer          = "listen-peer-urls"
	keyListenMetrics       = "listen-metrics-urls"
	keyAdvertiseClient     = "advertise-client-urls"
	keyAdvertisePeer       = "initial-advertise-peer-urls"
	keyInitialCluster      = "initial-cluster"
	keyInitialClusterToken = "initial-cluster-token"
	keyInitialClusterState = "initial-cluster-state"
	keyHeartbeatInterval   = "heartbeat-interval"
	keyElectionTimeout     = "election-timeout"
	keySnapshotCount       = "snapshot-count"
	keySnapshotRate        = "snapshot-send-bytes-per-second"
	keyLeaseReads          = "lease-reads"
	keyClockDrift          = "max-clock-drift-percent"
	keyQuotaBackendBytes   = "quota-backend-bytes"
	keyCompactionMode      = "auto-compaction-mode"
	keyCompactionRetention = "auto-compaction-retention"
	keyMaxKeyBytes         = "max-key-bytes"
	keyMaxValueBytes       = "max-value-bytes"
	keyMaxRequestBytes     = "max-request-bytes"
	keyMaxTxnOps           = "max-txn-ops"
	keyMaxStreams          = "max-concurrent-streams"
	keyMaxLearners         = "max-learners"
	keyWatchProgress       = "watch-progress-notify-interval"
	keyGateway             = "enable-grpc-gateway"
	keyCertFile            = "cert-file"
	keyKeyFile             = "key-file"
	keyTrustedCAFile       = "trusted-ca-file"
	keyClientCertAuth      = "client-cert-auth"
	keyClientCRLFile       = "client-crl-file"
	keyClientAllowedHost   = "client-cert-allowed-hostname"
	keyAutoTLS             = "auto-tls"
	keyPeerCertFile        = "peer-cert-file"
	keyPeerKeyFile         = "peer-key-file"
	keyPeerClientCertFile  = "peer-client-cert-file"
	keyPeerClientKeyFile   = "peer-client-key-file"
	keyPeerTrustedCAFile   = "peer-trusted-ca-file"
	keyPeerClientCertAuth  = "peer-client-cert-auth"
	keyPeerCRLFile         = "peer-crl-file"
	keyPeerAllowedCN       = "peer-cert-allowed-cn"
	keyPeerAllowedHost     = "peer-cert-allowed-hostname"
	keyPeerAutoTLS         = "peer-auto-tls"
	keyPeerSkipSAN         = "peer-skip-client-san-verification"
	keySelfSignedValidity  = "self-signed-cert-validity"
	keyTLSMinVersion       = "tls-min-version"
	keyTLSMaxVersion       = "tls-max-version"
	keyCipherSuites        = "cipher-suites"
	keyAdminTokenFile      = "admin-token-file"
	keyUnsafeNoFsync       = "unsafe-no-fsync"
	keyLogLevel            = "log-level"
	keyLogFormat           = "log-format"
)

// group is a heading of the help with its flags.
type group struct {
	title string
	keys  []string
}

var groups = []group{
	{"Node", []string{keyName, keyDataDir, keyConfigFile}},
	{"Listeners (nothing is opened that is not asked for)", []string{keyListenClient, keyListenPeer, keyListenMetrics}},
	{"Addresses told to others", []string{keyAdvertiseClient, keyAdvertisePeer}},
	{"TLS of clients (the files are read again when they change)",
		[]string{keyCertFile, keyKeyFile, keyClientCertAuth, keyTrustedCAFile, keyClientCRLFile, keyClientAllowedHost, keyAutoTLS}},
	{"TLS between members (the files are read again when they change)",
		[]string{keyPeerCertFile, keyPeerKeyFile, keyPeerClientCertAuth, keyPeerTrustedCAFile, keyPeerClientCertFile, keyPeerClientKeyFile, keyPeerCRLFile,
			keyPeerAllowedCN, keyPeerAllowedHost, keyPeerSkipSAN, keyPeerAutoTLS}},
	{"TLS of both", []string{keyTLSMinVersion, keyTLSMaxVersion, keyCipherSuites, keySelfSignedValidity}},
	{"First start of a static cluster (ignored once the data directory belongs to a member)",
		[]string{keyInitialCluster, keyInitialClusterToken, keyInitialClusterState}},
	{"Raft", []string{keyHeartbeatInterval, keyElectionTimeout, keySnapshotCount, keySnapshotRate, keyLeaseReads, keyClockDrift}},
	{"History", []string{keyCompactionMode, keyCompactionRetention}},
	{"Limits", []string{keyQuotaBackendBytes, keyMaxKeyBytes, keyMaxValueBytes, keyMaxRequestBytes, keyMaxTxnOps, keyMaxStreams, keyMaxLearners}},
	{"Watches", []string{keyWatchProgress}},
	{"Interfaces", []string{keyGateway}},
	{"Administration", []string{keyAdminTokenFile}},
	{"Logging", []string{keyLogLevel, keyLogFormat}},
	{"Taken from scripts made for etcd", []string{keyListenClientHTTP, keyUnsafeNoFsync}},
}

// Flags declares every setting on a flag set of its own. Its values are read by Load.
func Flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("raftkv-node", pflag.ContinueOnError)
	f.SortFlags = false
	f.String(keyConfigFile, "", "YAML `file` whose keys are the names of these flags")
	f.String(keyName, "", "human-readable `name` of this node (required but for a cluster of one: default \""+singleName+"\")")
	f.String(keyDataDir, "", "`directory` of log, state and identity (default \"NAME.raftkv\")")
	f.String(keyListenClient, "", "comma-separated `URLs` to serve clients on, such as http://127.0.0.1:2379, https://10.0.0.1:2379 or unix:///run/raftkv.sock")
	f.String(keyListenClientHTTP, "", "comma-separated `URLs` to serve clients on as well: all of them speak all protocols")
	f.String(keyListenPeer, "", "comma-separated `URLs` to serve peers and the admin calls on, such as http://10.0.0.1:2380 or https://10.0.0.1:2380")
	f.String(keyListenMetrics, "", "comma-separated `URLs` for /livez, /readyz, /metrics and /v1/status, such as http://127.0.0.1:8080")
	f.String(keyAdvertiseClient, "", "`URL` that clients reach this node by (default: the first of --listen-client-urls with a host)")
	f.String(keyAdvertisePeer, "", "`URL` that peers reach this node by (default: its URL in --initial-cluster, else the first of --listen-peer-urls with a host)")
	f.String(keyCertFile, "", "`file` of the certificate, PEM, that https:// listeners for clients and metrics show")
	f.String(keyKeyFile, "", "`file` of the certificate's key, PEM")
	f.Bool(keyClientCertAuth, false, "turn away clients without a certificate of --"+keyTrustedCAFile)
	f.String(keyTrustedCAFile, "", "`file` of the authorities, PEM, one of which must have signed the certificate of every client")
	f.String(keyClientCRLFile, "", "`file` of certificates that their authorities have revoked, PEM or DER, read again when it changes: clients with them are turned away")
	f.String(keyClientAllowedHost, "", "comma-separated `hosts`, one of which the certificate of every client must be for")
	f.Bool(keyAutoTLS, false, "show clients a certificate that is made at each start and that nobody has signed: encryption, and no proof of who is there")
	f.String(keyPeerCertFile, "", "`file` of the certificate, PEM, that this node shows to members, those that it dials included")
	f.String(keyPeerKeyFile, "", "`file` of the certificate's key, PEM")
	f.String(keyPeerClientCertFile, "", "`file` of a certificate, PEM, to show to members that this node dials instead")
	f.String(keyPeerClientKeyFile, "", "`file` of that certificate's key, PEM")
	f.Bool(keyPeerClientCertAuth, false, "turn away members without a certificate of --"+keyPeerTrustedCAFile)
	f.String(keyPeerTrustedCAFile, "", "`file` of the authorities, PEM, one of which must have signed the certificate of every member (default for those that are dialled: the machine's authorities)")
	f.String(keyPeerCRLFile, "", "`file` of certificates that their authorities have revoked, PEM or DER: members with them are turned away, and not dialled")
	f.String(keyPeerAllowedCN, "", "comma-separated common `names`, one of which the certificate of every member must have")
	f.String(keyPeerAllowedHost, "", "comma-separated `hosts`, one of which the certificate of every member must be for")
	f.Bool(keyPeerSkipSAN, false, "take members from addresses that their certificates do not name")
	f.Bool(keyPeerAutoTLS, false, "show members a certificate that is made at each start, and take whatever they show: encryption, and no proof of who is there")
	f.Int(keySelfSignedValidity, DefaultSelfSignedYears, "`years` for which certificates of --"+keyAutoTLS+" and --"+keyPeerAutoTLS+" are good")
	f.String(keyTLSMinVersion, versionNames[0], "oldest `version` of TLS: TLS1.2 or TLS1.3")
	f.String(keyTLSMaxVersion, "", "newest `version` of TLS: TLS1.2 or TLS1.3 (default: the newest)")
	f.String(keyCipherSuites, "", "comma-separated `names` of the suites of TLS 1.2, such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 (default: all that are safe)")
	f.String(keyInitialCluster, "", "all members of a new cluster as `NAME=URL,...`; without it an empty node that has a name waits to be bootstrapped or added")
	f.String(keyInitialClusterToken, DefaultClusterToken, "`word` that tells this static cluster from others of the same names")
	f.String(keyInitialClusterState, string(ClusterNew), "`state`: new to form the cluster, existing to take the place that a running one has made for this node (etcdctl member add), or to wait until it is added")
	f.Int(keyHeartbeatInterval, int(DefaultHeartbeatInterval.Milliseconds()), "`milliseconds` between a leader's heartbeats")
	f.Int(keyElectionTimeout, int(DefaultElectionTimeout.Milliseconds()), "least `milliseconds` without a leader before an election, at least 5 heartbeats")
	f.Uint64(keySnapshotCount, DefaultSnapshotCount, "applied `entries` after which the log is compacted")
	f.Int(keySnapshotRate, transport.DefaultSnapshotBytesPerSecond, "`bytes` a second of all snapshots to members that are behind, together; 0 for no bound")
	f.Bool(keyLeaseReads, false, "answer linearizable reads under the leader's lease; only for machines whose clocks keep to --"+keyClockDrift)
	f.Int(keyClockDrift, raft.DefaultClockDriftPercent, "most `percent` by which two members' clocks may disagree over an election timeout, with --"+keyLeaseReads)
	f.Int64(keyQuotaBackendBytes, 0, "`bytes` that the state may take on disk; past it puts are refused (default: 2 GiB, or a quarter of the file system of --"+keyDataDir+
		" if that is less)")
	f.String(keyCompactionMode, "", "`mode` of giving up history: periodic or revision (default: periodic, if --"+keyCompactionRetention+" is given)")
	f.String(keyCompactionRetention, "", "`history` that is kept: hours, or a time such as 30m; in mode revision a number of revisions; 0 keeps all of it "+
		fmt.Sprintf("(default: %d revisions, if neither flag is given)", DefaultAutoCompactionRetention))
	f.Int(keyMaxKeyBytes, DefaultMaxKeyBytes, "longest key in `bytes`, at most the default")
	f.Int(keyMaxValueBytes, DefaultMaxValueBytes, "largest value in `bytes`")
	f.Int(keyMaxRequestBytes, 0, "largest request in `bytes`, all its keys and values together "+
		fmt.Sprintf("(default %d, or what the largest key and value take)", DefaultMaxRequestBytes))
	f.Int(keyMaxTxnOps, DefaultMaxTxnOps, "most `operations` in each branch of a transaction, and comparisons")
	f.Uint32(keyMaxStreams, DefaultMaxStreams, "most gRPC `calls` of one connection at a time; further ones wait in the client")
	f.Int(keyMaxLearners, DefaultMaxLearners, "most `learners` up to which clients may add one (etcdctl member add --learner); the leader's counts")
	f.Duration(keyWatchProgress, DefaultWatchProgressInterval, "`time` after which a silent watch that asked for it is told how far it is")
	f.Bool(keyGateway, true, "serve the etcd v3 API as JSON below /v3/")
	f.String(keyAdminTokenFile, "", "`file` with the cluster's admin token; without it membership calls are refused")
	f.Bool(keyUnsafeNoFsync, false, "ignored with a warning: a node always waits for its disk before it acknowledges a write")
	f.String(keyLogLevel, "info", "`level`: debug, info, warn or error")
	f.String(keyLogFormat, string(LogText), "`format`: text or json")
	declareForeign(f)
	declareRefused(f)
	return f
}

// EnvironmentName is the environment variable of a setting: --data-dir is RAFTKV_DATA_DIR.
func EnvironmentName(key string) string {
	return environmentPrefix + variable(key)
}

// etcdVariable is etcd's variable for a setting.
func etcdVariable(key string) string { return etcdPrefix + variable(key) }

func variable(key string) string { return strings.ToUpper(strings.ReplaceAll(key, "-", "_")) }

// The modes of giving up history.
const (
	compactionByRevision = "revision"
	compactionByAge      = "periodic"
)

const (
	environmentPrefix = "RAFTKV_"
	etcdPrefix        = "ETCD_"
)

// Examples belongs at the head of the help.
const Examples = `  One node for trying things out:
    raftkv-node --listen-peer-urls http://127.0.0.1:2380 --listen-client-urls http://127.0.0.1:2379
    curl -X PUT --data-binary hello http://127.0.0.1:2379/v1/kv/greeting
    curl http://127.0.0.1:2379/v1/kv/greeting

  The first of three nodes on one machine; b and c differ in name and ports:
    raftkv-node --name a \
      --initial-cluster a=http://127.0.0.1:2380,b=http://127.0.0.1:2480,c=http://127.0.0.1:2580 \
      --listen-peer-urls http://127.0.0.1:2380 --listen-client-urls http://127.0.0.1:2379 \
      --listen-metrics-urls http://127.0.0.1:8080

  A node that waits for an operator or another node's leader to take it in:
    raftkv-node --name demo-0 --data-dir /var/lib/raftkv --admin-token-file /etc/raftkv/token \
      --listen-peer-urls http://0.0.0.0:2380 --listen-client-urls http://0.0.0.0:2379`

// Usage renders the flags in groups.
func Usage(f *pflag.FlagSet) string {
	var b strings.Builder
	for _, g := range groups {
		part := pflag.NewFlagSet("", pflag.ContinueOnError)
		part.SortFlags = false
		for _, key := range g.keys {
			part.AddFlag(f.Lookup(key))
		}
		const columns = 110
		fmt.Fprintf(&b, "%s:\n%s\n", g.title, part.FlagUsagesWrapped(columns))
	}
	fmt.Fprintf(&b, "Every flag can also be an environment variable (--data-dir is %s) or a key of --config-file.\n", EnvironmentName(keyDataDir))
	fmt.Fprintf(&b, "Those that etcd has are taken from its variables, too, such as %s, after raftkv's own.\n", etcdVariable(keyDataDir))
	b.WriteString("Flags of etcd that tune what is built otherwise here are taken and ignored, with a warning.\n")
	b.WriteString("A flag wins over the environment, the environment over the file, the file over the default.\n")
	return b.String()
}
