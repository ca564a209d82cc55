package config

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// loadLine parses a command line as cmd/node does.
func loadLine(t *testing.T, line string) (Config, error) {
	t.Helper()
	f := Flags()
	args := strings.Fields(line)
	given := slices.Clone(args)
	if err := f.Parse(Arguments(f, args)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(args, given) {
		t.Error("the caller's arguments were changed")
	}
	return Load(f, nil)
}

// TestKubernetesStartsANodeInThePlaceOfEtcd has the command lines of Kubernetes' integration tests (test/integration/framework/etcd.go) and of
// its scripts (hack/lib/etcd.sh).
func TestKubernetesStartsANodeInThePlaceOfEtcd(t *testing.T) {
	c, err := loadLine(t, "--data-dir d --listen-client-urls unix:///d/etcd.sock --advertise-client-urls http://127.0.0.111:0 "+
		"--listen-peer-urls http://127.0.0.1:0 -log-level warn --quota-backend-bytes 8589934592 --unsafe-no-fsync")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.ListenClient, []Listen{{Address: "/d/etcd.sock", Unix: true}}) || c.ListenClient[0].String() != "unix:///d/etcd.sock" || c.AdvertiseClient != "" ||
		c.LogLevel != slog.LevelWarn || c.Name != "default" || len(c.InitialCluster) != 1 || c.AdvertisePeer != "localhost:2380" {
		t.Errorf("%+v", c)
	}
	if len(c.Warnings) != 2 || !strings.Contains(c.Warnings[0], "it is not told to clients") {
		t.Errorf("%q", c.Warnings)
	}
	for _, peers := range []string{"--listen-peer-urls http://localhost:0", ""} {
		c, err = loadLine(t, "--advertise-client-urls http://127.0.0.1:2379 --data-dir d --listen-client-urls http://127.0.0.1:2379 --log-level=warn "+peers)
		if err != nil || len(c.InitialCluster) != 1 || c.AdvertiseClient != "127.0.0.1:2379" || len(c.Warnings) > 0 {
			t.Errorf("peers %q: %+v, %v", peers, c, err)
		}
	}
}

// TestFlagsThatTuneEtcd are taken with a warning that names them, or without one if they ask for what is done anyway.
func TestFlagsThatTuneEtcd(t *testing.T) {
	for line, warned := range map[string]string{
		"--strict-reconfig-check --pre-vote=true --logger=zap --log-outputs=stderr --enable-pprof=false": "",
		"--strict-reconfig-check=false":                          "--strict-reconfig-check=false is ignored",
		"-max-wals 3":                                            "--max-wals=3 is ignored",
		"--feature-gates=CompactHashCheck=true":                  "--feature-gates=CompactHashCheck=true is ignored",
		"--experimental-initial-corrupt-check --max-snapshots=5": "--max-snapshots=5 is ignored",
		"--snapshot-count=5":                                     "",
		"--quota-backend-bytes=0":                                "",
		"--log-level=fatal":                                      "",
	} {
		c, err := loadLine(t, "--name=a "+peerFlag+" "+line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if all := strings.Join(c.Warnings, "\n"); (warned == "") != (all == "") || !strings.Contains(all, warned) {
			t.Errorf("%s: warnings %q, want %q", line, all, warned)
		}
		if c.SnapshotCount < minSnapshotCount || c.QuotaBackendBytes != 0 {
			t.Errorf("%s: %+v", line, c)
		}
	}
}

func TestTheGatewayIsTurnedOffLikeThatOfEtcd(t *testing.T) {
	for flag, off := range map[string]bool{"": false, "--enable-grpc-gateway": false, "--enable-grpc-gateway=true": false, "--enable-grpc-gateway=false": true} {
		if c, err := loadLine(t, "--name=a "+peerFlag+" "+flag); err != nil || c.NoGateway != off || len(c.Warnings) > 0 {
			t.Errorf("%q: %t, %v, %v", flag, c.NoGateway, c.Warnings, err)
		}
	}
	if c, err := load(t, []string{"ETCD_ENABLE_GRPC_GATEWAY=false"}, "--name=a", peerFlag); err != nil || !c.NoGateway {
		t.Errorf("ETCD_ENABLE_GRPC_GATEWAY: %t, %v", c.NoGateway, err)
	}
}

func TestAFlagUnderItsOldName(t *testing.T) {
	f := Flags()
	if err := f.Parse([]string{"--name=a", peerFlag, "--experimental-watch-progress-notify-interval=2s"}); err != nil {
		t.Fatal(err)
	}
	// The command line wins, whatever name it uses.
	c, err := Load(f, []string{"RAFTKV_WATCH_PROGRESS_NOTIFY_INTERVAL=1h"})
	if err != nil || c.WatchProgressInterval.Seconds() != 2 {
		t.Errorf("%v, %v", c.WatchProgressInterval, err)
	}
}

// TestFlagsThatProtectAreNotIgnored: whoever asks for protection that is not there is told so.
func TestFlagsThatProtectAreNotIgnored(t *testing.T) {
	for flag, want := range map[string]string{
		"--client-crl-file=x": "give --trusted-ca-file", "--client-cert-allowed-hostname=h": "give --trusted-ca-file", "--peer-client-cert-auth": "give --peer-trusted-ca-file",
		"--auth-token=jwt,sign-method=RS256": "there are no users", "--force-new-cluster": "raftkv-node restore",
		"--wal-dir=/fast": "the log is in --data-dir", "--discovery-srv=example.com": "--initial-cluster", "--host-whitelist=a,b": "where they come from",
	} {
		if _, err := loadLine(t, "--name=a "+peerFlag+" "+flag); err == nil || !strings.Contains(err.Error(), flag[:7]) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", flag, err)
		}
		name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		if value == "" {
			value = "true"
		}
		if _, err := load(t, []string{etcdVariable(name) + "=" + value}, "--name=a", peerFlag); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", etcdVariable(name), err)
		}
	}
	if _, err := loadLine(t, "--name=a "+peerFlag+" --client-cert-auth=false --cert-file= --auth-token=simple --cors=* --force-new-cluster=false"); err != nil {
		t.Errorf("what asks for nothing: %v", err)
	}
}

func TestEtcdsVariables(t *testing.T) {
	environ := []string{
		"ETCD_NAME=from-etcds", "ETCD_LISTEN_PEER_URLS=http://127.0.0.1:2380", "ETCD_DATA_DIR=etcds", "RAFTKV_DATA_DIR=ours", "ETCD_LOG_LEVEL=",
		"ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=2s", "ETCD_AUTO_COMPACTION_RETENTION=5m", "ETCD_HEARTBEAT_INTERVAL=70",
		"ETCD_SERVICE_HOST=10.0.0.1", "ETCD_PORT=tcp://10.0.0.1:2379", "ETCDCTL_API=3", "ETCD_MAX_WALS=3", "ETCD_VERSION=v3.6.8", "ETCD_CERT_FILE=",
	}
	c, err := load(t, environ, "--heartbeat-interval=60")
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "from-etcds" || c.DataDir != "ours" || c.HeartbeatInterval != 60*time.Millisecond || c.WatchProgressInterval != 2*time.Second || c.AutoCompactionAge != 5*time.Minute {
		t.Errorf("%+v", c)
	}
	if len(c.Warnings) != 2 || !strings.Contains(c.Warnings[0], "ETCD_VERSION is no setting") || !strings.Contains(c.Warnings[1], "--max-wals=3 is ignored") {
		t.Errorf("%q", c.Warnings)
	}
	// What is stronger wins over another name too.
	if c, err := load(t, environ, "--watch-progress-notify-interval=3s"); err != nil || c.WatchProgressInterval != 3*time.Second {
		t.Errorf("%v, %v", c.WatchProgressInterval, err)
	}
	if _, err := load(t, []string{"ETCD_HEARTBEAT_INTERVAL=soon"}, "--name=a", peerFlag); err == nil || !strings.Contains(err.Error(), "ETCD_HEARTBEAT_INTERVAL") {
		t.Errorf("%v", err)
	}
}

// TestEtcdsConfigurationFile has all keys of the sample that comes with etcd.
func TestEtcdsConfigurationFile(t *testing.T) {
	const sample = `
name: 'default'
data-dir:
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: http://localhost:2379
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:2380
advertise-client-urls: http://localhost:2379
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster:
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
proxy-refresh-interval: 30000
proxy-dial-timeout: 1000
proxy-write-timeout: 5000
proxy-read-timeout: 0
client-transport-security: {cert-file: , key-file: , client-cert-auth: false, trusted-ca-file: , auto-tls: false}
peer-transport-security: {cert-file: , key-file: , client-cert-auth: false, trusted-ca-file: , auto-tls: false, allowed-cn: , allowed-hostname: }
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
cipher-suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]
tls-min-version: 'TLS1.2'
tls-max-version: 'TLS1.3'
`
	c, err := load(t, nil, "--config-file="+writeFile(t, sample))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "default" || len(c.ListenClient) != 1 || c.AutoCompactionAge != time.Hour || c.LogLevel != slog.LevelDebug {
		t.Errorf("%+v", c)
	}
	for changed, want := range map[string]string{
		"cert-file: , key-file: /k, client-cert-auth: false, trusted-ca-file: , auto-tls: false}":       "give both --cert-file and --key-file",
		"cert-file: , key-file: , client-cert-auth: true, trusted-ca-file: , auto-tls: false, allowed-": "--peer-client-cert-auth: give --peer-trusted-ca-file",
	} {
		plain := strings.NewReplacer("/k", "", ": true", ": false").Replace(changed)
		if _, err := load(t, nil, "--config-file="+writeFile(t, strings.Replace(sample, plain, changed, 1))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", changed, err)
		}
	}
	if _, err := load(t, nil, "--config-file="+writeFile(t, sample+"client-transport-security-of-mine: {a: b}\n")); err == nil || !strings.Contains(err.Error(), "unknown setting") {
		t.Errorf("another mapping: %v", err)
	}
}

func TestWhatEtcdHasIsNeitherInTheHelpNorInTheEnvironment(t *testing.T) {
	f := Flags()
	if help := Usage(f); strings.Contains(help, "max-wals") {
		t.Error("the help has flags that settle nothing")
	}
	ownSettings(f, func(x *pflag.Flag) {
		if strings.HasPrefix(x.Name, "experimental-") || x.Name == "max-wals" {
			t.Errorf("--%s is a setting", x.Name)
		}
	})
	c, err := load(t, []string{"RAFTKV_MAX_WALS=3"}, "--name=a", peerFlag)
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "is no setting and is ignored") {
		t.Errorf("%q, %v", c.Warnings, err)
	}
}

func TestListenersOfClients(t *testing.T) {
	for urls, want := range map[string]string{
		"http://0.0.0.0:1": "", "http://h:0": "", "http://h:1": "h:1", "http://0.0.0.0:1,http://h:1,http://g:1": "h:1",
	} {
		c, err := loadLine(t, "--name=a "+peerFlag+" --advertise-client-urls="+urls)
		if err != nil || c.AdvertiseClient != want || len(c.Warnings) != strings.Count(urls, "http")-min(len(want), 1) {
			t.Errorf("%s: %q, %q, %v", urls, c.AdvertiseClient, c.Warnings, err)
		}
	}
	if c, err := loadLine(t, "--name=a "+peerFlag+" --listen-client-urls=http://h:1 --listen-client-http-urls=http://h:2"); err != nil || len(c.ListenClient) != 2 {
		t.Errorf("%+v, %v", c.ListenClient, err)
	}
	if c, err := loadLine(t, "--name=a "+peerFlag+" --max-concurrent-streams 7"); err != nil || c.MaxStreams != 7 {
		t.Errorf("%d calls, %v", c.MaxStreams, err)
	}
	f := Flags()
	if err := f.Parse([]string{"--name=a", peerFlag, "--listen-client-urls=unix://"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(f, nil); err == nil || !strings.Contains(err.Error(), "names no socket") {
		t.Errorf("no path: %v", err)
	}
}
