package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// alias is another name that etcd has, or had, for a setting.
type alias struct{ name, key string }

var aliases = []alias{
	{"experimental-watch-progress-notify-interval", keyWatchProgress},
	{"experimental-peer-skip-client-san-verification", keyPeerSkipSAN},
}

// foreign is a flag of etcd's that settles nothing here. It is taken, so that what was written for etcd starts a node as it is, with a
// warning unless its value says what is done here anyway. None of them would protect data or refuse somebody: such flags are unknown here.
type foreign struct {
	name string
	// truth says that the flag may stand without a value, which is true then.
	truth bool
	// same are the values that say what is done here.
	same []string
	// instead is what is done here.
	instead string
}

// The reasons that several of them share.
const (
	builtOtherwise  = "what it tunes is built otherwise here"
	alwaysCompared  = "members always compare their states, and look their own over once a day"
	logsToErrorOnly = "the log goes to standard error, as --" + keyLogFormat + " and --" + keyLogLevel + " say"
	noWarnings      = "how long calls take is in the metrics"
)

var foreigners = []foreign{
	{"strict-reconfig-check", true, []string{"true"}, "a change of the membership that would cost the quorum is always refused"},
	{"pre-vote", true, []string{"true"}, "a member always asks the others before it stands for election"},
	{"initial-election-tick-advance", true, nil, "a node waits the whole election timeout at its start"},
	{"enable-pprof", true, []string{"false"}, "profiles are not served"},
	{"metrics", false, []string{"basic"}, "there is one set of metrics"},
	{"logger", false, []string{"zap"}, logsToErrorOnly},
	{"log-outputs", false, []string{"default", "stderr"}, logsToErrorOnly},
	{"enable-log-rotation", true, []string{"false"}, logsToErrorOnly},
	{"log-rotation-config-json", false, nil, logsToErrorOnly},
	{"experimental-initial-corrupt-check", true, nil, alwaysCompared},
	{"corrupt-check-time", false, nil, alwaysCompared},
	{"experimental-corrupt-check-time", false, nil, alwaysCompared},
	{"compact-hash-check-time", false, nil, alwaysCompared},
	{"experimental-compact-hash-check-time", false, nil, alwaysCompared},
	{"experimental-compact-hash-check-enabled", true, nil, alwaysCompared},
	{"feature-gates", false, nil, builtOtherwise},
	{"warning-apply-duration", false, nil, noWarnings},
	{"experimental-warning-apply-duration", false, nil, noWarnings},
	{"warning-unary-request-duration", false, nil, noWarnings},
	{"experimental-warning-unary-request-duration", false, nil, noWarnings},
	{"snapshot-catchup-entries", false, nil, "half of --" + keySnapshotCount + " entries are kept for members that are behind"},
	{"experimental-snapshot-catchup-entries", false, nil, "half of --" + keySnapshotCount + " entries are kept for members that are behind"},
	{"experimental-enable-lease-checkpoint", true, nil, "leases live in the log"},
	{"experimental-enable-lease-checkpoint-persist", true, nil, "leases live in the log"},
	{"experimental-stop-grpc-service-on-defrag", true, []string{"false"}, "calls are served during a defragmentation"},
	{"experimental-txn-mode-write-with-shared-buffer", true, nil, builtOtherwise},
	{"compaction-batch-limit", false, nil, builtOtherwise},
	{"experimental-compaction-batch-limit", false, nil, builtOtherwise},
	{"compaction-sleep-interval", false, nil, builtOtherwise},
	{"experimental-compaction-sleep-interval", false, nil, builtOtherwise},
	{"backend-batch-interval", false, nil, builtOtherwise},
	{"backend-batch-limit", false, nil, builtOtherwise},
	{"backend-bbolt-freelist-type", false, nil, builtOtherwise},
	{"bootstrap-defrag-threshold-megabytes", false, nil, builtOtherwise},
	{"experimental-bootstrap-defrag-threshold-megabytes", false, nil, builtOtherwise},
	{"memory-mlock", true, []string{"false"}, builtOtherwise},
	{"experimental-memory-mlock", true, []string{"false"}, builtOtherwise},
	{"max-snapshots", false, nil, builtOtherwise},
	{"max-wals", false, nil, builtOtherwise},
	{"raft-read-timeout", false, nil, builtOtherwise},
	{"raft-write-timeout", false, nil, builtOtherwise},
	{"grpc-keepalive-min-time", false, []string{"5s"}, "a client may ping each 5 s"},
	{"grpc-keepalive-interval", false, []string{"2h", "2h0m0s"}, "a silent client is asked after 2 h"},
	{"grpc-keepalive-timeout", false, []string{"20s"}, "a client that was asked has 20 s to answer"},
	{"downgrade-check-time", false, nil, "there is no downgrade to watch for"},
	{"experimental-downgrade-check-time", false, nil, "there is no downgrade to watch for"},
	{"auth-token-ttl", false, nil, "there are no users"},
	{"bcrypt-cost", false, nil, "there are no users"},
	{"client-cert-file", false, nil, "the JSON gateway needs no certificate to reach its own node"},
	{"client-key-file", false, nil, "the JSON gateway needs no certificate to reach its own node"},
	{"socket-reuse-port", true, []string{"false"}, "a port is one node's"},
	{"socket-reuse-address", true, []string{"false"}, "a port is one node's"},
	{"enable-distributed-tracing", true, []string{"false"}, "there are no traces"},
	{"experimental-enable-distributed-tracing", true, []string{"false"}, "there are no traces"},
	{"proxy-failure-wait", false, nil, "there is no proxy"},
	{"proxy-refresh-interval", false, nil, "there is no proxy"},
	{"proxy-dial-timeout", false, nil, "there is no proxy"},
	{"proxy-write-timeout", false, nil, "there is no proxy"},
	{"proxy-read-timeout", false, nil, "there is no proxy"},
	{"discovery-fallback", false, nil, "members are not looked up"},
	{"v2-deprecation", false, nil, "there is no v2 store"},
	{"enable-v2", true, []string{"false"}, "there is no v2 store"},
}

// declareForeign declares etcd's other flags, hidden from the help.
func declareForeign(f *pflag.FlagSet) {
	for _, a := range aliases {
		own := f.Lookup(a.key)
		f.AddFlag(&pflag.Flag{Name: a.name, Usage: "--" + a.key, Value: own.Value, DefValue: own.DefValue, NoOptDefVal: own.NoOptDefVal, Hidden: true})
	}
	for _, x := range foreigners {
		if x.truth {
			f.Bool(x.name, false, x.instead)
		} else {
			f.String(x.name, "", x.instead)
		}
		f.Lookup(x.name).Hidden = true
	}
}

// settleAliases makes a setting count as given if it was under another name.
func settleAliases(f *pflag.FlagSet) {
	for _, a := range aliases {
		if f.Changed(a.name) {
			f.Lookup(a.key).Changed = true
		}
	}
}

// ownSettings calls do for each flag that is raftkv's own, and not just taken for etcd's sake.
func ownSettings(f *pflag.FlagSet, do func(*pflag.Flag)) {
	f.VisitAll(func(x *pflag.Flag) {
		if !x.Hidden {
			do(x)
		}
	})
}

// foreignWarnings are about etcd's flags that were given and settle nothing.
func foreignWarnings(f *pflag.FlagSet) []string {
	var out []string
	for _, x := range foreigners {
		given := f.Lookup(x.name)
		if given.Changed && !slices.Contains(x.same, strings.Trim(given.Value.String(), "[]'\"")) {
			out = append(out, fmt.Sprintf("--%s=%s is ignored: %s", x.name, given.Value, x.instead))
		}
	}
	return out
}

// Arguments makes a command line fit for flags of two dashes, that was written for etcd, which takes one dash as well.
func Arguments(f *pflag.FlagSet, args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if a == "--" {
			break
		}
		name, dashed := strings.CutPrefix(a, "-")
		name, _, _ = strings.Cut(name, "=")
		if dashed && f.Lookup(name) != nil {
			out[i] = "-" + a
		}
	}
	return out
}
