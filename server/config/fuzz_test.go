package config

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad gives any command line, environment and file: the configuration that comes of them keeps its bounds, and every
// error says something that is meant for a person.
func FuzzLoad(f *testing.F) {
	f.Add("--name=a --listen-peer-urls=http://127.0.0.1:2380", "", "")
	f.Add("--name=b --listen-client-urls=http://[::1]:0,http://0.0.0.0:1", "RAFTKV_INITIAL_CLUSTER=b=http://b:1,c=http://[fd00::1]:2", "log-format: json\n")
	f.Add("--peer-auto-tls --listen-peer-urls=https://h:1,http://h:1 --self-signed-cert-validity=3", "RAFTKV_PEER_CERT_ALLOWED_CN=a,b", "peer-transport-security: {allowed-hostname: [h]}")
	f.Add("--name=a", "RAFTKV_SNAPSHOT_COUNT=x", "listen-peer-urls:\n- http://127.0.0.1:1\n")
	f.Add("--name=a --max-key-bytes=70000 --initial-cluster-state=existing", "RAFTKV_NAM=a", "a: {b: c}\n")
	f.Add("--heartbeat-interval=9223372036854775807 --election-timeout=9223372036854775807", "", "name: [1, null, {}]")
	f.Add("--name=a --listen-peer-urls=http://h:1 --heartbeat-interval=3689348814741910324 --election-timeout=1000", "", "")
	f.Add("--name=a --listen-peer-urls=http://h:1 --log-level=info+3", "", "")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, line, environment, file string) {
		flags := Flags()
		flags.SetOutput(io.Discard)
		if err := flags.Parse(strings.Fields(line)); err != nil {
			checkMessage(t, FlagError(err))
			return
		}
		environ := strings.Split(environment, "\n")
		if file != "" && !flags.Changed(keyConfigFile) {
			path := filepath.Join(dir, "node.yaml")
			if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := flags.Set(keyConfigFile, path); err != nil {
				t.Fatal(err)
			}
		} else if file == "" {
			environ = nil // it might name a file that blocks
		}
		if path, _ := flags.GetString(keyConfigFile); path != "" && !strings.HasPrefix(path, dir) {
			return // another file of this machine, perhaps one that blocks
		}
		c, err := Load(flags, environ)
		if err != nil {
			checkMessage(t, err)
			return
		}
		if c.Name == "" || c.DataDir == "" || c.HeartbeatInterval <= 0 || c.ElectionTimeout < minElectionHeartbeats*c.HeartbeatInterval ||
			c.SnapshotCount < minSnapshotCount || c.MaxKeyBytes < 1 || c.MaxKeyBytes > hardMaxKeyBytes ||
			c.MaxValueBytes < 1 || c.MaxValueBytes > hardMaxValueBytes ||
			c.QuotaBackendBytes != 0 && c.QuotaBackendBytes < minQuotaBytes {
			t.Fatalf("out of bounds: %+v", c)
		}
		switch c.LogLevel {
		case slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError:
		default:
			t.Fatalf("log level %v", c.LogLevel)
		}
		for _, list := range [][]Listen{c.ListenClient, c.ListenPeer, c.ListenMetrics} {
			for _, l := range list {
				if l.Unix {
					continue
				}
				if again, err := parse(l.String()); err != nil || again.Address != l.Address || again.TLS != l.TLS {
					t.Fatalf("%v became %q, %v", l, again, err)
				}
			}
		}
		own := len(c.InitialCluster) == 0
		for _, m := range c.InitialCluster {
			own = own || m.Name == c.Name
		}
		if !own {
			t.Fatalf("%q is not in %v", c.Name, c.InitialCluster)
		}
	})
}

func checkMessage(t *testing.T, err error) {
	t.Helper()
	for _, leak := range []string{"strconv.", "%!", "net/url:", "<nil>"} {
		if strings.Contains(err.Error(), leak) {
			t.Fatalf("%q is in the error %q", leak, err)
		}
	}
}
