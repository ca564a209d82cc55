package etcdclients

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// selfSigned makes a certificate that is its own authority, as etcd does for --auto-tls.
func selfSigned(t *testing.T, address string) transport.TLSInfo {
	t.Helper()
	return must(transport.SelfCert(zap.NewNop(), t.TempDir(), []string{address}, 1, x509.ExtKeyUsageClientAuth))(t)
}

// TestClientsWithTLS are etcd's Go client, etcdctl and curl, against a node that lets nobody in without a certificate.
func TestClientsWithTLS(t *testing.T) {
	t.Parallel()
	dir, address := t.TempDir(), freeAddress()
	p, mine := selfSigned(t, address), selfSigned(t, address)
	n := &node{name: "default", client: "https://" + address, log: filepath.Join(dir, "log"), args: []string{
		"--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", "https://" + address, "--advertise-client-urls", "https://" + address,
		"--cert-file", p.CertFile, "--key-file", p.KeyFile, "--client-cert-auth", "--trusted-ca-file", mine.CertFile,
	}}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	defer n.end(syscall.SIGKILL)
	if err := n.serves(); err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(must(os.ReadFile(p.CertFile))(t)) {
		t.Fatal("no certificate of the node's")
	}
	with := &tls.Config{RootCAs: authorities, Certificates: []tls.Certificate{must(tls.LoadX509KeyPair(mine.CertFile, mine.KeyFile))(t)}}
	c := must(clientv3.New(clientv3.Config{Endpoints: []string{n.client}, TLS: with, DialTimeout: patience}))(t)
	defer func() { _ = c.Close() }()
	w := c.Watch(within(t), "k", clientv3.WithCreatedNotify())
	<-w
	_ = must(c.Put(within(t), "k", "v"))(t)
	if got := <-w; len(got.Events) != 1 || string(got.Events[0].Kv.Value) != "v" {
		t.Errorf("a watch: %+v", got)
	}
	// Synchronizing takes the addresses of the members, with their scheme.
	eventually(t, "the member tells its address", func() bool {
		return len(must(c.MemberList(within(t)))(t).Members[0].ClientURLs) == 1
	})
	if err := c.Sync(within(t)); err != nil || c.Endpoints()[0] != n.client {
		t.Errorf("%q, %v", c.Endpoints(), err)
	}
	if r := must(c.Get(within(t), "k"))(t); r.Count != 1 {
		t.Errorf("after synchronizing: %v", r)
	}
	stranger := must(clientv3.New(clientv3.Config{Endpoints: []string{n.client}, TLS: &tls.Config{RootCAs: authorities}}))(t)
	defer func() { _ = stranger.Close() }()
	short, cancel := context.WithTimeout(within(t), time.Second)
	defer cancel()
	if r, err := stranger.Get(short, "k"); err == nil {
		t.Errorf("without a certificate: %v", r)
	}
	for _, x := range []struct {
		line, want string
		refused    bool
	}{
		{"ETCDCTL get k --print-value-only --cacert CA --cert CERT --key KEY", "v\n", false},
		{"ETCDCTL get k --command-timeout=1s --cacert CA", "", true},
		{"ETCDCTL endpoint health --cacert CA --cert CERT --key KEY", "is healthy", false},
		{"curl -sS --http2 --cacert CA --cert CERT --key KEY NODE/v1/kv/k", "v", false},
		{"curl -sS --http1.1 --cacert CA --cert CERT --key KEY NODE/v1/kv/k", "v", false},
		{"curl -sS --http2 --cacert CA --cert CERT --key KEY -o /dev/null -w %{http_version} NODE/health", "2", false},
		{`curl -sS --http2 --cacert CA --cert CERT --key KEY NODE/v3/kv/range -d {"key":"aw=="}`, `"count":"1"`, false},
		{"curl -sS --cacert CA NODE/v1/kv/k", "", true},
		{"curl -sS PLAIN/v1/kv/k", "this port has TLS", false},
	} {
		words := strings.Fields(strings.NewReplacer("ETCDCTL", programs.etcdctl, "CA", p.CertFile, "CERT", mine.CertFile, "KEY", mine.KeyFile, "NODE", n.client,
			"PLAIN", "http://"+address).Replace(x.line))
		cmd := exec.CommandContext(within(t), words[0], words[1:]...)
		cmd.Env = append(os.Environ(), "ETCDCTL_ENDPOINTS="+n.client, "no_proxy=*")
		out, err := cmd.CombinedOutput()
		if (err != nil) != x.refused || !strings.Contains(string(out), x.want) {
			t.Errorf("%s: %v\n%s", x.line, err, out)
		}
	}
}
