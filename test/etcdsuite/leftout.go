package main

// suite is a package of etcd's tests.
type suite struct {
	name, path string
	leftOut    []leftOut
}

// leftOut are tests that are not run, as a pattern of go test's -skip, and why. A pattern with slashes names subtests.
type leftOut struct{ pattern, reason string }

// The reasons, in the order of docs/ETCD-COMPATIBILITY.md.
const (
	noAuth     = "users and roles are not there yet"
	noForm     = "a static cluster forms once all its members agree, not while one of them is refused"
	noSockets  = "members are dialled by host and port, not by sockets"
	noEnd      = "a member that was removed waits to be added instead of ending"
	noForce    = "a cluster is not forced into being anew by a flag"
	noFormat   = "it reads or damages etcd's own files: data directory, snapshot"
	noPrograms = "it tests other programs of etcd: gateway, proxy, discovery, migration, completion"
	noVersions = "it needs another version of etcd beside this one, or is about flags that etcd has given up"
	noInside   = "it looks for etcd's log lines, metrics or IDs"
	noCheck    = "etcd refuses each change of members for five seconds after its start; raftkv refuses those that would cost the quorum"
	noClock    = "it asserts on milliseconds under load: etcd itself misses them on a small machine"
)

var suites = []suite{
	{"common", "go.etcd.io/etcd/tests/v3/common", []leftOut{
		{"Auth", noAuth}, {"^TestUser", noAuth}, {"^TestRole", noAuth}, {"^TestRootRole$", noAuth},
		{"^TestMemberAdd$/^.*Learner$/^StrictReconfigCheck$/^NoWaitForQuorum$/^Peer", noCheck},
		{"^TestMemberRemove$/^StrictReconfigCheck$/^NoWaitForQuorum$/^Peer", noCheck},
	}},
	{"e2e", "go.etcd.io/etcd/tests/v3/e2e", []leftOut{
		{"Auth", noAuth}, {"User", noAuth}, {"Role", noAuth}, {"^TestHTTP.*Handler$/auth", noAuth}, {"CommonName", noAuth},
		{"^TestEtcdPeerCNAuth$", noForm}, {"^TestEtcdPeerMultiCNAuth$", noForm}, {"^TestEtcdPeerNameAuth$", noForm}, {"^TestEtcdPeerLocalAddr$", noForm},
		{"^TestEtcdUnixPeers$", noSockets},
		{"^TestMemberReplace", noEnd}, {"^TestReproduce20340$", noEnd}, {"^TestForceNewCluster", noForce},
		{"^TestEtcdCorruptHash$", noFormat}, {"DetectsCorruption", noFormat}, {"DetectCorruption", noFormat}, {"^TestHTTP.*Handler$/corrupt", noFormat}, {"^TestInPlaceRecovery$", noFormat}, {"DefragOffline", noFormat},
		{"^TestCtlV3Snapshot$", noFormat}, {"^TestCtlV3SnapshotStatus", noFormat}, {"^TestCtlV3SnapshotVersion$", noFormat}, {"^TestIssue6361$", noFormat}, {"^TestRestoreCompactionRevBump$", noFormat},
		{"ConsistentIndexNewer", noFormat}, {"^TestRecoverSnapshotBackend$", noFormat}, {"^TestEtcdExampleConfig$", noFormat},
		{"^TestGateway$", noPrograms}, {"Grpc[pP]roxy", noPrograms}, {"Discovery", noPrograms}, {"Migrate", noPrograms}, {"Completion", noPrograms},
		{"Upgrade", noVersions}, {"Downgrade", noVersions}, {"MixVersion", noVersions}, {"V2", noVersions}, {"v2", noVersions},
		{"DeprecatedFlags", noVersions}, {"WarningApplyDuration", noVersions}, {"^TestBootstrapDefragFlag$", noVersions}, {"CatchupEntriesFlag$", noVersions},
		{"^TestCtlV3GetFormat$", noInside}, {"^TestNoErrorLogs", noInside}, {"^TestNoMetricsMissing$", noInside}, {"^TestV3Metrics", noInside}, {"^TestV3Learner", noInside}, {"MissingClientTLS", noInside},
		{"RejectMessage", noInside}, {"^TestCurlV3CipherSuitesValid$", noInside}, {"^TestServerJsonLogging$", noInside},
		{"^TestWatchDelay", noClock},
	}},
}
