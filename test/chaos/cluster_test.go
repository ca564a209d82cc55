//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
	"github.com/raftkv/raftkv/test/loopback"
)

const adminToken = "chaos-admin-token"

// cluster is a static cluster of real processes.
type cluster struct {
	t       *testing.T
	nodes   []*node
	network *network
	http    *http.Client
}

// newCluster prepares nodes a, b, c...; nothing runs yet. root is where their directories go.
func newCluster(t *testing.T, size int, root string, flags ...string) *cluster {
	t.Helper()
	program(t) // so that compiling counts for nobody's patience
	c := &cluster{t: t, network: newNetwork(t), http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(adminToken), 0o600); err != nil {
		t.Fatal(err)
	}
	logs := t.ArtifactDir()
	var members []string
	for i := range size {
		name := string(rune('a' + i))
		n := &node{
			t: t, index: i, name: name, dataDir: filepath.Join(root, name), logPath: filepath.Join(logs, name+".log"),
			peer: loopback.MustAddress(t), advertised: loopback.MustAddress(t), client: loopback.MustAddress(t), metrics: loopback.MustAddress(t),
		}
		c.nodes = append(c.nodes, n)
		c.network.add(i, n.advertised, n.peer)
		members = append(members, name+"=http://"+n.advertised)
	}
	c.network.pid = func(i int) int { return int(c.nodes[i].pid.Load()) }
	for _, n := range c.nodes {
		n.flags = append([]string{"--initial-cluster=" + strings.Join(members, ","), "--admin-token-file=" + tokenFile}, flags...)
	}
	t.Cleanup(c.close)
	return c
}

func (c *cluster) close() {
	c.network.heal()
	for _, n := range c.nodes {
		n.close()
	}
	c.network.close()
	c.http.CloseIdleConnections()
}

func (c *cluster) start(nodes ...*node) {
	c.t.Helper()
	for _, n := range nodes {
		c.network.open(n.index)
		n.start()
	}
}

// kill ends processes at once; their ports close.
func (c *cluster) kill(nodes ...*node) {
	c.t.Helper()
	for _, n := range nodes {
		n.process.expected = true
		_ = n.process.cmd.Process.Kill()
	}
	for _, n := range nodes {
		n.process.kill(c.t)
		c.network.shut(n.index)
	}
}

func (c *cluster) status(n *node) (admin.Status, error) {
	var s admin.Status
	if !n.running() {
		return s, fmt.Errorf("%s does not run", n.name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.metrics+"/v1/status", nil)
	if err != nil {
		return s, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	return s, json.NewDecoder(response.Body).Decode(&s)
}

// statusTimeout bounds a look at one node.
const statusTimeout = 3 * time.Second

// alive complains about nodes that ended by themselves.
func (c *cluster) alive() error {
	for _, n := range c.nodes {
		if n.process != nil && !n.process.running() && !n.process.expected {
			return fmt.Errorf("%s ended by itself: %v", n.name, n.process.cmd.ProcessState)
		}
	}
	return nil
}

func (c *cluster) ready(nodes ...*node) error {
	if err := c.alive(); err != nil {
		return err
	}
	for _, n := range nodes {
		s, err := c.status(n)
		if err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
		if !s.Ready {
			return fmt.Errorf("%s (%s, term %d) is not ready: %s", n.name, s.Role, s.Term, s.NotReady)
		}
	}
	return nil
}

func (c *cluster) awaitReady() {
	c.t.Helper()
	eventually(c.t, patience, "all nodes ready", func() error { return c.ready(c.nodes...) })
}

// leader waits for a node that leads in the highest term that anyone knows.
func (c *cluster) leader() *node {
	c.t.Helper()
	var found *node
	eventually(c.t, patience, "a leader", func() error {
		var highest raft.Term
		found = nil
		for _, n := range c.nodes {
			s, err := c.status(n)
			if err != nil || s.Term < highest {
				continue
			}
			if s.Term > highest {
				highest, found = s.Term, nil
			}
			if s.Role == raft.RoleLeader.String() {
				found = n
			}
		}
		if found == nil {
			return fmt.Errorf("nobody leads in term %d", highest)
		}
		return nil
	})
	return found
}

// except returns the nodes but one.
func (c *cluster) except(not *node) []*node {
	var out []*node
	for _, n := range c.nodes {
		if n != not {
			out = append(out, n)
		}
	}
	return out
}

// item is one key as a listing shows it.
type item struct {
	Key         []byte `json:"key"`
	Value       []byte `json:"value"`
	ModRevision uint64 `json:"modRevision,string"`
}

// list reads all keys of one node as it holds them, page by page.
func (c *cluster) list(n *node) (map[string]item, error) {
	const pageKeys = 250
	out := map[string]item{}
	next := ""
	for {
		query := url.Values{"prefix": {"true"}, "serializable": {"true"}, "limit": {fmt.Sprint(pageKeys)}}
		if next != "" {
			query.Set("continue", next)
		}
		response, err := c.http.Get("http://" + n.client + "/v1/kv/?" + query.Encode())
		if err != nil {
			return nil, err
		}
		var page struct {
			Items    []item
			More     bool
			Continue string
		}
		err = json.NewDecoder(response.Body).Decode(&page)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("list %s: %s: %w", n.name, response.Status, err)
		}
		for _, x := range page.Items {
			out[string(x.Key)] = x
		}
		if !page.More {
			return out, nil
		}
		next = page.Continue
	}
}

// converge waits until all nodes have applied the same and hold the same, which it returns.
func (c *cluster) converge(within time.Duration) map[string]item {
	c.t.Helper()
	var held map[string]item
	eventually(c.t, within, "all nodes the same", func() error {
		if err := c.ready(c.nodes...); err != nil {
			return err
		}
		var applied raft.Index
		for i, n := range c.nodes {
			s, err := c.status(n)
			if err != nil {
				return err
			}
			if i == 0 {
				applied = s.Applied
			}
			if len(s.Alarms) > 0 {
				return fmt.Errorf("%s knows of the alarms %+v", n.name, s.Alarms)
			}
			if s.Applied != applied || s.Commit != applied {
				return fmt.Errorf("%s has applied %d and knows %d committed, %s had applied %d", n.name, s.Applied, s.Commit, c.nodes[0].name, applied)
			}
		}
		for i, n := range c.nodes {
			items, err := c.list(n)
			if err != nil {
				return err
			}
			if i == 0 {
				held = items
				continue
			}
			if !maps.EqualFunc(held, items, func(a, b item) bool {
				return string(a.Value) == string(b.Value) && a.ModRevision == b.ModRevision
			}) {
				return fmt.Errorf("%s holds other data than %s: %s", n.name, c.nodes[0].name, firstDifference(held, items))
			}
		}
		return nil
	})
	return held
}

func firstDifference(a, b map[string]item) string {
	for key, x := range a {
		if y, there := b[key]; !there || string(y.Value) != string(x.Value) || y.ModRevision != x.ModRevision {
			return fmt.Sprintf("%d and %d keys; %q is %q at %d and %q at %d", len(a), len(b), key, x.Value, x.ModRevision, y.Value, y.ModRevision)
		}
	}
	return fmt.Sprintf("%d and %d keys", len(a), len(b))
}

// admin binds a node's admin service, past the network's doors.
func (c *cluster) admin(ctx context.Context, n *node) (*admin.Service, func(), error) {
	p := rpc.NewPeer(rpc.PeerOptions{Address: n.peer, Client: rpc.ClientOptions{Metadata: rpc.Metadata{admin.MetadataToken: adminToken}}})
	s := new(admin.Service)
	if err := rpc.BindContext(ctx, p, admin.ServiceName, s); err != nil {
		_ = p.Close()
		return nil, nil, err
	}
	return s, func() { _ = p.Close() }, nil
}
