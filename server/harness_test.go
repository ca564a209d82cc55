package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/test/loopback"
)

// patience is how long a test waits for what must happen; a machine that is busy needs more than the cluster does.
const patience = 2 * time.Minute

const token = "integration-token"

// instance is one node of a test's cluster. It can be stopped and started again.
type instance struct {
	t         *testing.T
	name      string
	dataDir   string
	tokenFile string
	flags     []string
	peer      string
	client    string
	metrics   string
	log       *logBuffer
	// told is where other members reach the peer port, if not there; operator dials it as the operator does, nil means plain TCP.
	told     string
	operator rpc.DialFunc

	cancel context.CancelFunc
	done   chan error
}

// logBuffer keeps a node's lines for a failed test.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newInstance(t *testing.T, name string) *instance {
	t.Helper()
	i := &instance{
		t: t, name: name, dataDir: filepath.Join(t.TempDir(), "data"), tokenFile: filepath.Join(t.TempDir(), "token"),
		peer: loopback.MustAddress(t), client: loopback.MustAddress(t), metrics: loopback.MustAddress(t), log: &logBuffer{},
	}
	if err := os.WriteFile(i.tokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if i.cancel != nil {
			_ = i.stop()
		}
		if t.Failed() {
			t.Logf("--- log of %s\n%s", name, i.log)
		}
	})
	return i
}

func (i *instance) config(extra ...string) (config.Config, error) {
	f := config.Flags()
	args := append([]string{
		"--name=" + i.name, "--data-dir=" + i.dataDir, "--admin-token-file=" + i.tokenFile, "--listen-peer-urls=http://" + i.peer,
		"--listen-client-urls=http://" + i.client, "--listen-metrics-urls=http://" + i.metrics, "--log-level=debug",
	}, append(i.flags, extra...)...)
	if err := f.Parse(args); err != nil {
		return config.Config{}, err
	}
	return config.Load(f, nil)
}

func (i *instance) start(extra ...string) {
	i.t.Helper()
	cfg, err := i.config(extra...)
	if err != nil {
		i.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	i.cancel, i.done = cancel, make(chan error, 1)
	listening := make(chan struct{})
	done := i.done
	go func() {
		done <- Run(ctx, cfg, Options{Version: "test", Log: i.log, Listening: func(Addresses) { close(listening) }})
	}()
	select {
	case <-listening:
	case err := <-done:
		i.t.Fatalf("%s ended at once: %v", i.name, err)
	case <-time.After(patience):
		i.t.Fatalf("%s does not listen", i.name)
	}
}

// stop ends the node in order and returns what Run returned.
func (i *instance) stop() error {
	i.cancel()
	i.cancel = nil
	select {
	case err := <-i.done:
		return err
	case <-time.After(patience):
		return fmt.Errorf("%s does not stop", i.name)
	}
}

func (i *instance) mustStop() {
	i.t.Helper()
	if err := i.stop(); err != nil {
		i.t.Fatal(err)
	}
}

func (i *instance) status() (admin.Status, error) {
	var s admin.Status
	resp, err := http.Get("http://" + i.metrics + "/v1/status")
	if err != nil {
		return s, err
	}
	defer func() { _ = resp.Body.Close() }()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// await polls the node's status until it satisfies the condition.
func (i *instance) await(what string, holds func(admin.Status) bool) admin.Status {
	i.t.Helper()
	var last admin.Status
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		s, err := i.status()
		if err == nil && holds(s) {
			return s
		}
		last = s
	}
	i.t.Fatalf("%s: %s did not happen; its status: %+v", i.name, what, last)
	return last
}

func (i *instance) awaitReady() admin.Status {
	i.t.Helper()
	return i.await("getting ready", func(s admin.Status) bool { return s.Ready })
}

// admin binds the admin service, as the operator does.
func (i *instance) admin() *admin.Service {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := rpc.NewPeer(rpc.PeerOptions{Address: i.peer, Client: rpc.ClientOptions{Metadata: rpc.Metadata{admin.MetadataToken: token}, Dial: i.operator}})
	i.t.Cleanup(func() { _ = p.Close() })
	s := new(admin.Service)
	if err := rpc.BindContext(ctx, p, admin.ServiceName, s); err != nil {
		i.t.Fatal(err)
	}
	return s
}

func (i *instance) member(inc raft.Incarnation) raft.Member {
	peer := i.peer
	if i.told != "" {
		peer = i.told
	}
	return raft.Member{Name: i.name, PeerAddress: peer, ClientAddress: i.client, Incarnation: inc}
}

type reply struct {
	code   int
	body   string
	header http.Header
}

func (i *instance) request(method, path, body string) (reply, error) {
	req, err := http.NewRequest(method, "http://"+i.client+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, string(text), resp.Header}, err
}

// mustPut writes, sending again what was surely not applied or is unknown: a put of the same value may be repeated.
func (i *instance) mustPut(key, value string) {
	i.t.Helper()
	var last any
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		r, err := i.request(http.MethodPut, "/v1/kv/"+key, value)
		if err == nil && r.code == http.StatusOK {
			return
		}
		if last = err; err == nil {
			last = r
		}
	}
	i.t.Fatalf("%s: PUT %s: %v", i.name, key, last)
}

func (i *instance) mustGet(key, want string) {
	i.t.Helper()
	var last any
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		r, err := i.request(http.MethodGet, "/v1/kv/"+key, "")
		if err == nil && r.code == http.StatusOK {
			if r.body != want {
				i.t.Fatalf("%s: GET %s gave %q, want %q", i.name, key, r.body, want)
			}
			return
		}
		if err == nil && r.code == http.StatusNotFound {
			i.t.Fatalf("%s: %s is lost", i.name, key)
		}
		if last = err; err == nil {
			last = r
		}
	}
	i.t.Fatalf("%s: GET %s: %v", i.name, key, last)
}

// staticCluster starts nodes that name each other.
func staticCluster(t *testing.T, names ...string) []*instance {
	t.Helper()
	var nodes []*instance
	var members []string
	for _, n := range names {
		i := newInstance(t, n)
		nodes = append(nodes, i)
		members = append(members, n+"=http://"+i.peer)
	}
	for _, i := range nodes {
		i.flags = []string{"--initial-cluster=" + strings.Join(members, ",")}
		i.start()
	}
	for _, i := range nodes {
		i.awaitReady()
	}
	return nodes
}

func leaderOf(t *testing.T, nodes []*instance) *instance {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, i := range nodes {
			if i.cancel == nil {
				continue
			}
			if s, err := i.status(); err == nil && s.Role == "leader" && s.Ready {
				return i
			}
		}
	}
	t.Fatal("no leader")
	return nil
}

// undisturbed makes a check in which so many elections are asked for. On a busy machine one more may come at any time, and a hand-over may fail: an error counts
// if there was none but those. Otherwise the check is made again.
func undisturbed(t *testing.T, nodes []*instance, elections raft.Term, check func() error) {
	t.Helper()
	highest := func() (term raft.Term) {
		for _, i := range nodes {
			s, err := i.status()
			if err != nil {
				t.Fatal(err)
			}
			term = max(term, s.Term)
		}
		return term
	}
	for deadline := time.Now().Add(patience); ; {
		leaderOf(t, nodes)
		before := highest()
		err := check()
		if err == nil {
			return
		}
		if after := highest(); after == before+elections || time.Now().After(deadline) {
			t.Fatalf("%v (the term was %d and is %d)", err, before, after)
		}
		t.Logf("once more, since an election came, or came not: %v", err)
	}
}

func others(nodes []*instance, not *instance) []*instance {
	var out []*instance
	for _, i := range nodes {
		if i != not {
			out = append(out, i)
		}
	}
	return out
}
