package etcdclients

import (
	"context"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lease grants one that outlives the test.
func lease(ctx context.Context, t *testing.T, c *clientv3.Client) clientv3.LeaseID {
	t.Helper()
	return must(c.Grant(ctx, 600))(t).ID
}

// queue waits until so many keys are in the row of a name.
func queue(ctx context.Context, t *testing.T, c *clientv3.Client, name string, count int64) {
	t.Helper()
	eventually(t, "all are in the row", func() bool {
		return must(c.Get(ctx, name+"/", clientv3.WithPrefix(), clientv3.WithCountOnly()))(t).Count == count
	})
}

// TestLocks speaks to the Lock service with the client that etcd generates, at several members, beside the mutex of its Go client.
func TestLocks(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	var locks []v3lockpb.LockClient
	for _, n := range shared.nodes {
		locks = append(locks, v3lockpb.NewLockClient(shared.dial(t, n).ActiveConnection()))
	}
	first, second, third := lease(ctx, t, c), lease(ctx, t, c), lease(ctx, t, c)
	held := must(locks[0].Lock(ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: int64(first)}))(t)
	if !strings.HasPrefix(string(held.Key), name+"/") || held.Header.Revision == 0 {
		t.Fatal(held)
	}
	// The same lease has it already.
	if again := must(locks[1].Lock(ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: int64(first)}))(t); string(again.Key) != string(held.Key) {
		t.Errorf("%s and %s", held.Key, again.Key)
	}
	// One who waits and goes leaves no trace.
	gone, cancel := context.WithCancel(ctx)
	left := make(chan error, 1)
	go func() {
		_, err := locks[1].Lock(gone, &v3lockpb.LockRequest{Name: []byte(name), Lease: int64(third)})
		left <- err
	}()
	queue(ctx, t, c, name, 2)
	cancel()
	if err := <-left; status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	queue(ctx, t, c, name, 1)
	// A mutex of the Go client stands in the same row, and one who asks the service behind it.
	session := must(concurrency.NewSession(c, concurrency.WithLease(second)))(t)
	mutex := concurrency.NewMutex(session, name)
	locked := make(chan error, 1)
	go func() { locked <- mutex.Lock(ctx) }()
	queue(ctx, t, c, name, 2)
	type answer struct {
		r   *v3lockpb.LockResponse
		err error
	}
	last := make(chan answer, 1)
	go func() {
		r, err := locks[2].Lock(ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: int64(third)})
		last <- answer{r, err}
	}()
	queue(ctx, t, c, name, 3)
	select {
	case err := <-locked:
		t.Fatal("two have the lock", err)
	case a := <-last:
		t.Fatal("two have the lock", a.err)
	default:
	}
	must(locks[2].Unlock(ctx, &v3lockpb.UnlockRequest{Key: held.Key}))(t)
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	must(c.Revoke(ctx, second))(t)
	if a := <-last; a.err != nil || must(c.Get(ctx, string(a.r.Key)))(t).Count != 1 {
		t.Fatal(a.err)
	}
	// Who loses the lease while waiting is told so, although the lock goes on to be held.
	waiting := lease(ctx, t, c)
	go func() {
		r, err := locks[0].Lock(ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: int64(waiting)})
		last <- answer{r, err}
	}()
	queue(ctx, t, c, name, 2)
	must(c.Revoke(ctx, waiting))(t)
	if a := <-last; a.err == nil || !strings.Contains(a.err.Error(), "session is expired") {
		t.Error(a.r, a.err)
	}
	if _, err := locks[0].Lock(ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: 12345}); err == nil || !strings.Contains(err.Error(), "requested lease not found") {
		t.Error(err)
	}
}

// TestElections does the same with the Election service.
func TestElections(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	first := v3electionpb.NewElectionClient(shared.dial(t, shared.nodes[0]).ActiveConnection())
	second := v3electionpb.NewElectionClient(shared.dial(t, shared.nodes[1]).ActiveConnection())
	if _, err := first.Leader(ctx, &v3electionpb.LeaderRequest{Name: []byte(name)}); err == nil || !strings.Contains(err.Error(), "election: no leader") {
		t.Error(err)
	}
	observed := must(second.Observe(ctx, &v3electionpb.LeaderRequest{Name: []byte(name)}))(t)
	one, two := lease(ctx, t, c), lease(ctx, t, c)
	won := must(first.Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte(name), Lease: int64(one), Value: []byte("one")}))(t)
	if got := must(second.Leader(ctx, &v3electionpb.LeaderRequest{Name: []byte(name)}))(t); string(got.Kv.Value) != "one" || string(got.Kv.Key) != string(won.Leader.Key) {
		t.Error(got)
	}
	see := func(want string) {
		t.Helper()
		if got := must(observed.Recv())(t); string(got.Kv.Value) != want {
			t.Fatalf("observed %q and not %q", got.Kv.Value, want)
		}
	}
	see("one")
	// A candidate of the Go client waits in the same row.
	session := must(concurrency.NewSession(c, concurrency.WithLease(two)))(t)
	election := concurrency.NewElection(session, name)
	elected := make(chan error, 1)
	go func() { elected <- election.Campaign(ctx, "two") }()
	queue(ctx, t, c, name, 2)
	must(second.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: won.Leader, Value: []byte("still one")}))(t)
	see("still one")
	must(second.Resign(ctx, &v3electionpb.ResignRequest{Leader: won.Leader}))(t)
	if err := <-elected; err != nil {
		t.Fatal(err)
	}
	see("two")
	if _, err := first.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: won.Leader, Value: []byte("one again")}); err == nil || !strings.Contains(err.Error(), "election: not leader") {
		t.Error(err)
	}
	must(first.Resign(ctx, &v3electionpb.ResignRequest{Leader: won.Leader}))(t) // once more does no harm
	if _, err := first.Resign(ctx, &v3electionpb.ResignRequest{}); err == nil || !strings.Contains(err.Error(), `"leader" field must be provided`) {
		t.Error(err)
	}
	// A campaign for what the lease has already changes the value only.
	if err := election.Proclaim(ctx, "two of two"); err != nil {
		t.Fatal(err)
	}
	see("two of two")
	again := must(first.Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte(name), Lease: int64(two), Value: []byte("two of three")}))(t)
	if string(again.Leader.Key) != election.Key() || again.Leader.Rev != election.Rev() {
		t.Error(again.Leader, election.Key(), election.Rev())
	}
	see("two of three")
	// Who loses the lease while waiting is not elected.
	three := lease(ctx, t, c)
	failed := make(chan error, 1)
	go func() {
		_, err := first.Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte(name), Lease: int64(three), Value: []byte("three")})
		failed <- err
	}()
	queue(ctx, t, c, name, 2)
	must(c.Revoke(ctx, three))(t)
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "session is expired") {
		t.Error(err)
	}
}

// TestLocksAndElectionsAsJSON.
func TestLocksAndElectionsAsJSON(t *testing.T) {
	name := fresh(t)
	ctx, n, c := within(t), shared.nodes[1], shared.dial(t)
	code, r := post(ctx, t, n, "lock/lock", fields{"name": in64(name)})
	key, _ := r["key"].(string)
	if code != 200 || key == "" {
		t.Fatal(code, r)
	}
	queue(ctx, t, c, name, 1)
	if code, r := post(ctx, t, n, "lock/unlock", fields{"key": key}); code != 200 {
		t.Error(code, r)
	}
	queue(ctx, t, c, name, 0)
	code, r = post(ctx, t, n, "election/campaign", fields{"name": in64(name), "value": in64("me")})
	leader, _ := r["leader"].(map[string]any)
	if code != 200 || leader["rev"] == nil {
		t.Fatal(code, r)
	}
	if code, r := post(ctx, t, n, "election/proclaim", fields{"leader": leader, "value": in64("still me")}); code != 200 {
		t.Error(code, r)
	}
	code, r = post(ctx, t, n, "election/leader", fields{"name": in64(name)})
	if kv, _ := r["kv"].(map[string]any); code != 200 || kv["value"] != in64("still me") {
		t.Error(code, r)
	}
	if code, r := post(ctx, t, n, "election/resign", fields{"leader": leader}); code != 200 {
		t.Error(code, r)
	}
	if code, r := post(ctx, t, n, "election/leader", fields{"name": in64(name)}); code == 200 || !strings.Contains(r["message"].(string), "election: no leader") {
		t.Error(code, r)
	}
}

// TestAStopEndsWhoWaits for a lock or for events, so that a node does not wait for them.
func TestAStopEndsWhoWaits(t *testing.T) {
	mine := own(t, 1)
	ctx, c := within(t), mine.dial(t)
	locks := v3lockpb.NewLockClient(c.ActiveConnection())
	must(locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("n"), Lease: int64(lease(ctx, t, c))}))(t)
	ended := make(chan error, 1)
	second := lease(ctx, t, c)
	go func() {
		_, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("n"), Lease: int64(second)})
		ended <- err
	}()
	queue(ctx, t, c, "n", 2)
	request := must(http.NewRequestWithContext(ctx, http.MethodGet, "http://"+mine.nodes[0].client+"/v1/watch/k", nil))(t)
	watch, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Body.Close() }()
	mine.nodes[0].end(syscall.SIGTERM)
	if text := string(must(io.ReadAll(watch.Body))(t)); !strings.HasSuffix(text, "resume at another node, or later\"}\n\n") {
		t.Errorf("the watch ended with %q", text)
	}
	if err := <-ended; status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
}
