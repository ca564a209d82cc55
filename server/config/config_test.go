package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func load(t *testing.T, environ []string, args ...string) (Config, error) {
	t.Helper()
	f := Flags()
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(f, environ)
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const peerFlag = "--listen-peer-urls=http://127.0.0.1:2380"

func TestDefaults(t *testing.T) {
	c, err := load(t, nil, "--name=a", peerFlag)
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "a.raftkv" || c.ElectionTimeout != 500*time.Millisecond || c.HeartbeatInterval != 50*time.Millisecond ||
		c.MaxKeyBytes != 15359 || c.MaxValueBytes != 3<<19 || c.MaxRequestBytes <= c.MaxValueBytes || c.MaxTxnOps != 128 || c.MaxLearners != 1 ||
		c.AutoCompactionRetention != 100_000 || c.AutoCompactionAge != 0 || c.WatchProgressInterval != 10*time.Minute || c.LogLevel != slog.LevelInfo || c.InitialClusterState != ClusterNew {
		t.Errorf("defaults: %+v", c)
	}
	if len(c.ListenClient)+len(c.ListenMetrics) != 0 {
		t.Error("a listener that no flag asked for")
	}
	if c.AdvertisePeer != "127.0.0.1:2380" {
		t.Errorf("advertised peer address %q", c.AdvertisePeer)
	}
}

func TestPrecedenceFlagEnvironmentFile(t *testing.T) {
	path := writeFile(t, "name: from-file\ndata-dir: dir-file\nsnapshot-count: 700\nlog-level: debug\nlisten-peer-urls:\n- http://127.0.0.1:1\n- http://127.0.0.1:2\n")
	env := []string{"RAFTKV_NAME=from-env", "RAFTKV_DATA_DIR=dir-env", "RAFTKV_CONFIG_FILE=" + path, "RAFTKV_SERVICE_HOST=10.0.0.1", "OTHER=1"}
	c, err := load(t, env, "--name=from-flag")
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "from-flag" || c.DataDir != "dir-env" || c.SnapshotCount != 700 || c.LogLevel != slog.LevelDebug {
		t.Errorf("got %+v", c)
	}
	if len(c.ListenPeer) != 2 || c.ListenPeer[1].Address != "127.0.0.1:2" {
		t.Errorf("a YAML list became %v", c.ListenPeer)
	}
}

func TestStaticCluster(t *testing.T) {
	c, err := load(t, nil, "--name=b", "--listen-peer-urls=http://0.0.0.0:2380",
		"--initial-cluster=a=http://a:2380, b=http://[fd00::2]:2380,c=http://c.example:2380", "--initial-cluster-token=t")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.InitialCluster) != 3 || c.AdvertisePeer != "[fd00::2]:2380" || !c.InitialClusterTokenSet {
		t.Errorf("got %+v", c)
	}
	c, err = load(t, nil, "--name=b", peerFlag, "--initial-cluster=a=http://a:2380,b=http://b:2380", "--initial-cluster-state=existing")
	if err != nil || c.InitialCluster != nil || !slices.Equal(c.ExistingCluster, []StaticMember{{"a", "a:2380"}}) || c.AdvertisePeer != "b:2380" {
		t.Errorf("an existing cluster must not be formed, but joined: %+v, %v", c, err)
	}
}

func TestAnExistingClusterAsEtcdctlPrintsIt(t *testing.T) {
	// Eight members, one of them not started, which so has no name.
	initial := "--initial-cluster=b=http://b:2380,=http://later:2380"
	for i := range 6 {
		initial += fmt.Sprintf(",m%d=https://m%d:2380", i, i)
	}
	c, err := load(t, nil, "--name=b", peerFlag, initial, "--initial-advertise-peer-urls=http://b.other:2380", "--initial-cluster-state=existing")
	if err != nil || len(c.ExistingCluster) != 6 || c.ExistingCluster[5].PeerAddress != "https://m5:2380" || c.AdvertisePeer != "b.other:2380" {
		t.Errorf("%+v, %v", c.ExistingCluster, err)
	}
	c, err = load(t, nil, "--name=b", peerFlag, initial, "--initial-cluster-state=existing", "--admin-token-file=f")
	if err != nil || c.ExistingCluster != nil {
		t.Errorf("with an admin token: %+v, %v", c.ExistingCluster, err)
	}
	if _, err = load(t, nil, "--name=b", peerFlag, initial); err == nil {
		t.Error("a new cluster of members without names was taken")
	}
}

func TestClusterOfOneNeedsNoPeerListener(t *testing.T) {
	if _, err := load(t, nil, "--name=a", "--initial-cluster=a=http://127.0.0.1:2380", "--listen-client-urls=http://127.0.0.1:0"); err != nil {
		t.Error(err)
	}
}

// TestANodeWithNothingButListenersIsAClusterOfItsOwn: so etcd is started for a try, and by controller-runtime's envtest.
func TestANodeWithNothingButListenersIsAClusterOfItsOwn(t *testing.T) {
	c, err := load(t, nil, peerFlag, "--data-dir=d", "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379")
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "default" || !slices.Equal(c.InitialCluster, []StaticMember{{Name: "default", PeerAddress: "127.0.0.1:2380"}}) || c.AdvertisePeer != "127.0.0.1:2380" {
		t.Errorf("%+v", c)
	}
	c, err = load(t, nil, "--listen-peer-urls=http://0.0.0.0:2380", "--initial-advertise-peer-urls=http://h:2380")
	if err != nil || len(c.InitialCluster) != 1 || c.InitialCluster[0].PeerAddress != "h:2380" {
		t.Errorf("with a URL to be dialled: %+v, %v", c.InitialCluster, err)
	}
	// What belongs to somebody is nobody's own cluster.
	for _, flag := range []string{"--name=a", "--name=a --admin-token-file=f", "--name=a --initial-cluster-state=existing"} {
		if c, err := load(t, nil, append(strings.Fields(flag), peerFlag)...); err != nil || len(c.InitialCluster) > 0 {
			t.Errorf("%s: would form %v, %v", flag, c.InitialCluster, err)
		}
	}
	for _, flag := range []string{"--admin-token-file=f", "--initial-cluster-state=existing"} {
		if _, err := load(t, nil, flag, peerFlag); err == nil || !strings.Contains(err.Error(), "give the node a name") {
			t.Errorf("%s without a name: %v", flag, err)
		}
	}
}

func TestDurabilityIsNotGivenUpForTheAsking(t *testing.T) {
	c, err := load(t, nil, peerFlag, "--unsafe-no-fsync=true")
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "--unsafe-no-fsync is ignored") {
		t.Errorf("%v, %v", c.Warnings, err)
	}
	if c, err = load(t, nil, peerFlag); err != nil || len(c.Warnings) != 0 {
		t.Errorf("%v, %v", c.Warnings, err)
	}
}

func TestHistoryIsKeptByRevisionsOrByTime(t *testing.T) {
	for _, x := range []struct {
		args      string
		revisions uint64
		age       time.Duration
	}{
		{"--auto-compaction-retention=0", 0, 0},
		{"--auto-compaction-retention=7", 0, 7 * time.Hour},
		{"--auto-compaction-mode=revision --auto-compaction-retention=0", 0, 0},
		{"--auto-compaction-mode=revision", 0, 0},
		{"--auto-compaction-mode=periodic", 0, 0},
		{"--auto-compaction-mode=revision --auto-compaction-retention=7", 7, 0},
		{"--auto-compaction-retention=30m", 0, 30 * time.Minute},
		{"--auto-compaction-mode=periodic --auto-compaction-retention=30m", 0, 30 * time.Minute},
		{"--auto-compaction-mode=periodic --auto-compaction-retention=2", 0, 2 * time.Hour},
		{"--auto-compaction-mode=periodic --auto-compaction-retention=0", 0, 0},
	} {
		c, err := load(t, nil, append([]string{"--name=a", peerFlag}, strings.Fields(x.args)...)...)
		if err != nil || c.AutoCompactionRetention != x.revisions || c.AutoCompactionAge != x.age {
			t.Errorf("%s: %d revisions, %v, %v", x.args, c.AutoCompactionRetention, c.AutoCompactionAge, err)
		}
	}
}

func TestALargerValueNeedsNoOtherSetting(t *testing.T) {
	c, err := load(t, nil, "--name=a", peerFlag, "--max-value-bytes=8000000")
	if err != nil || c.MaxRequestBytes < c.MaxValueBytes+c.MaxKeyBytes {
		t.Errorf("%d bytes, %v", c.MaxRequestBytes, err)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	for _, x := range []struct {
		name string
		args string
		want string
	}{
		{"no name", "--listen-peer-urls=http://0.0.0.0:2380", "--name: give the node a name"},
		{"no name in a cluster", peerFlag + " --initial-cluster=a=http://h:1", "--name: give the node a name"},
		{"bad name", "--name=a,b " + peerFlag, "no spaces, commas"},
		{"no listener", "--name=a", "give --listen-peer-urls"},
		{"alone and deaf", "--name=a --initial-cluster=a=http://h:1", "give --listen-client-urls"},
		{"no port", "--name=a --listen-peer-urls=http://127.0.0.1", "port is missing"},
		{"not a URL", "--name=a --listen-peer-urls=127.0.0.1:2380", "not a URL"},
		{"https", "--name=a --listen-peer-urls=https://127.0.0.1:2380", "give --peer-cert-file and --peer-key-file"},
		{"one address for two", "--name=a --listen-peer-urls=http://h:1 --listen-metrics-urls=https://h:2,http://h:1 --cert-file=c --key-file=k", "http://h:1 is in --listen-peer-urls too"},
		{"path", "--name=a --listen-peer-urls=http://127.0.0.1:2380/x", "only host and port"},
		{"port", "--name=a --listen-peer-urls=http://127.0.0.1:99999", "not a"},
		{"twice", "--name=a --listen-peer-urls=http://h:1,http://h:1", "given twice"},
		{"not in cluster", "--name=z " + peerFlag + " --initial-cluster=a=http://h:1", "does not name this node"},
		{"bad member", "--name=a " + peerFlag + " --initial-cluster=a", "write NAME=URL"},
		{"member twice", "--name=a " + peerFlag + " --initial-cluster=a=http://h:1,a=http://h:2", "named twice"},
		{"same URL", "--name=a " + peerFlag + " --initial-cluster=a=http://h:1,b=http://h:1", "same URL"},
		{"too many", "--name=a " + peerFlag + " --initial-cluster=a=http://h:1,b=http://h:2,c=http://h:3,d=http://h:4,e=http://h:5,f=http://h:6,g=http://h:7,h=http://h:8", "at most 7 voters"},
		{"undialable", "--name=a " + peerFlag + " --initial-cluster=a=http://0.0.0.0:1", "no host that others could dial"},
		{"advertise differs", "--name=a " + peerFlag + " --initial-cluster=a=http://h:1 --initial-advertise-peer-urls=http://h:2", "make them equal"},
		{"heartbeat", "--name=a " + peerFlag + " --heartbeat-interval=200", "at least 5 times the heartbeat"},
		{"tiny heartbeat", "--name=a " + peerFlag + " --heartbeat-interval=0", "the least is 5 ms"},
		{"slow election", "--name=a " + peerFlag + " --election-timeout=60000", "the most is 50000 ms"},
		{"snapshot rate", "--name=a " + peerFlag + " --snapshot-send-bytes-per-second=1000", "the least is 131072"},
		{"clock drift", "--name=a " + peerFlag + " --max-clock-drift-percent=90", "from 1 to 50"},
		{"quota", "--name=a " + peerFlag + " --quota-backend-bytes=1", "it must be from"},
		{"compaction mode", "--name=a " + peerFlag + " --auto-compaction-mode=daily", `write revision or periodic`},
		{"compaction age", "--name=a " + peerFlag + " --auto-compaction-retention=soon", "neither a number of hours nor a time"},
		{"compaction by what was revisions", "--name=a " + peerFlag + " --auto-compaction-retention=100000", "give --auto-compaction-mode=revision too"},
		{"compaction by revision", "--name=a " + peerFlag + " --auto-compaction-mode=revision --auto-compaction-retention=1h", "is no number of revisions"},
		{"request limit", "--name=a " + peerFlag + " --max-request-bytes=-1", "it must be from 1 to"},
		{"request and value limit", "--name=a " + peerFlag + " --max-request-bytes=1000 --max-value-bytes=2000", "too few for a value"},
		{"key limit", "--name=a " + peerFlag + " --max-key-bytes=15360", "it must be from 1 to 15359"},
		{"more operations than a command holds", "--name=a " + peerFlag + " --max-txn-ops=4097", "it must be from 1 to 4096"},
		{"operations", "--name=a " + peerFlag + " --max-txn-ops=0", "it must be from 1 to"},
		{"learners", "--name=a " + peerFlag + " --max-learners=-1", "the least is 0"},
		{"calls", "--name=a " + peerFlag + " --max-concurrent-streams=0", "could not call at all"},
		{"progress", "--name=a " + peerFlag + " --watch-progress-notify-interval=1ms", "the least is 100ms"},
		{"value limit", "--name=a " + peerFlag + " --max-value-bytes=99999999", "it must be from 1 to"},
		{"level", "--name=a " + peerFlag + " --log-level=loud", "write debug, info"},
		{"format", "--name=a " + peerFlag + " --log-format=xml", "write text or json"},
		{"state", "--name=a " + peerFlag + " --initial-cluster-state=old", "write new or existing"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := load(t, nil, strings.Fields(x.args)...)
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, want a refusal with %q", err, x.want)
			}
		})
	}
}

func TestSourcesAreNamedInErrors(t *testing.T) {
	_, err := load(t, []string{"RAFTKV_HEARTBEAT_INTERVAL=soon"}, "--name=a", peerFlag)
	if err == nil || !strings.Contains(err.Error(), "RAFTKV_HEARTBEAT_INTERVAL") {
		t.Errorf("environment: %v", err)
	}
	path := writeFile(t, "heartbeat-interval: soon\n")
	_, err = load(t, nil, "--name=a", peerFlag, "--config-file="+path)
	if err == nil || !strings.Contains(err.Error(), path+": heartbeat-interval") {
		t.Errorf("file: %v", err)
	}
	path = writeFile(t, "hartbeat-interval: 5\n")
	_, err = load(t, nil, "--name=a", peerFlag, "--config-file="+path)
	if err == nil || !strings.Contains(err.Error(), `unknown setting "hartbeat-interval"`) {
		t.Errorf("misspelt key: %v", err)
	}
	_, err = load(t, nil, "--name=a", peerFlag, "--config-file=/does/not/exist.yaml")
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("missing file: %v", err)
	}
}

func TestEveryFlagIsInTheHelpOnce(t *testing.T) {
	f := Flags()
	help := Usage(f)
	count := 0
	for _, g := range groups {
		count += len(g.keys)
		for _, key := range g.keys {
			if !strings.Contains(help, "--"+key+" ") {
				t.Errorf("help lacks --%s", key)
			}
		}
	}
	if n := strings.Count(f.FlagUsages(), "--"); count == 0 || n < count {
		t.Errorf("%d flags in groups, %d declared", count, n)
	}
	declared := 0
	ownSettings(f, func(*pflag.Flag) { declared++ })
	if declared != count {
		t.Errorf("%d flags are declared, %d are in the help's groups", declared, count)
	}
}

func TestValuesOfTheWrongTypeAreExplained(t *testing.T) {
	f := Flags()
	err := FlagError(f.Parse([]string{"--heartbeat-interval=soon"}))
	if err == nil || err.Error() != `--heartbeat-interval: "soon" is no value of --heartbeat-interval: write a whole number, in milliseconds` {
		t.Errorf("flag: %v", err)
	}
	_, err = load(t, []string{"RAFTKV_SNAPSHOT_COUNT=-1"}, "--name=a", peerFlag)
	if err == nil || !strings.Contains(err.Error(), "write a whole number that is not negative, in entries") || strings.Contains(err.Error(), "strconv") {
		t.Errorf("environment: %v", err)
	}
	if err := FlagError(Flags().Parse([]string{"--nonsense"})); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("an unknown flag: %v", err)
	}
}

func TestVariablesThatAreNoSettings(t *testing.T) {
	_, err := load(t, []string{"RAFTKV_HEARTBET_INTERVAL=5", "RAFTKV_NAMES=x"}, "--name=a", peerFlag)
	if err == nil || !strings.Contains(err.Error(), "did you mean RAFTKV_HEARTBEAT_INTERVAL?") || !strings.Contains(err.Error(), "did you mean RAFTKV_NAME?") {
		t.Errorf("slips of the pen: %v", err)
	}
	c, err := load(t, []string{"RAFTKV_SNAPSHOT_COUNTER_X=5", "OTHER=1", "RAFTKV_NAME=a"}, peerFlag)
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "RAFTKV_SNAPSHOT_COUNTER_X") || !strings.Contains(c.Warnings[0], "RAFTKV_SNAPSHOT_COUNT") {
		t.Errorf("another variable: %q, %v", c.Warnings, err)
	}
	services := []string{
		"RAFTKV_SERVICE_HOST=x", "RAFTKV_SERVICE_PORT=1", "RAFTKV_SERVICE_PORT_CLIENT=1", "RAFTKV_PORT=x", "RAFTKV_PORT_2379_TCP=x",
		"RAFTKV_PORT_2379_TCP_ADDR=x", "RAFTKV_DEMO_PEERS_PORT_2380_TCP_PROTO=tcp", "RAFTKV_NAME_SERVICE_HOST=x",
	}
	if c, err := load(t, services, "--name=a", peerFlag); err != nil || len(c.Warnings) != 0 {
		t.Errorf("what Kubernetes says of Services: %q, %v", c.Warnings, err)
	}
}
