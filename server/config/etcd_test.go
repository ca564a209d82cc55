package config

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

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
		if c.SnapshotCount < minSnapshotCount || c.QuotaBackendBytes < minQuotaBytes {
			t.Errorf("%s: %+v", line, c)
		}
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
	for _, flag := range []string{"--cert-file=x", "--client-cert-auth", "--auto-tls", "--peer-trusted-ca-file=x", "--auth-token=jwt", "--force-new-cluster"} {
		if err := Flags().Parse([]string{flag}); err == nil {
			t.Errorf("%s was taken", flag)
		}
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

func TestClientsAreToldOneAddressThatCanBeDialled(t *testing.T) {
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
	f := Flags()
	if err := f.Parse([]string{"--name=a", peerFlag, "--listen-client-urls=unix://"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(f, nil); err == nil || !strings.Contains(err.Error(), "names no socket") {
		t.Errorf("no path: %v", err)
	}
}
