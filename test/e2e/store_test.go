//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// storeStatus is where each member of the control plane's own store tells about itself, inside the control plane's network
// (test/localkube/internal/render/store.go).
var storeStatus = map[string]string{
	"store-1": "http://127.0.0.1:2381", "store-2": "http://127.0.0.1:2481", "store-3": "http://127.0.0.1:2581",
}

// enoughCounts show that the API server takes writes again.
const enoughCounts = 20

// TestTheControlPlaneSurvivesItsStoresMembers kills each member of the raftkv that this Kubernetes keeps its state in, the leader among
// them, while a client counts in an object and another watches it: no count that the API server acknowledged is lost, and the watch
// tells of each once and in order.
func TestTheControlPlaneSurvivesItsStoresMembers(t *testing.T) {
	c := startCounter(t)
	var led []string
	for _, member := range []string{"store-1", "store-2", "store-3"} {
		if storeMember(t, member).Role == "leader" {
			led = append(led, member)
		}
		c.mark()
		machine.run(t, "kill", control+"/"+member)
		c.waitCounts(t, enoughCounts)
		t.Logf("%s killed: counting paused for at most %.2f s", member, c.pause().Seconds())
		eventually(t, member+" is back and has caught up", func(ctx context.Context) error {
			s, err := askStore(ctx, member)
			if err == nil && !s.Ready {
				err = errors.New("not ready")
			}
			return err
		})
	}
	if len(led) == 0 {
		t.Error("none of those that were killed led: this showed less than it is to show")
	}
	c.end(t)
}

func storeMember(t *testing.T, name string) status {
	t.Helper()
	var found status
	eventually(t, name+" tells about itself", func(ctx context.Context) (err error) {
		found, err = askStore(ctx, name)
		return err
	})
	return found
}

func askStore(ctx context.Context, name string) (status, error) {
	c := newHTTPClient(control)
	defer c.CloseIdleConnections()
	var s status
	body, err := get(ctx, c, storeStatus[name]+"/v1/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

// counter counts in a ConfigMap, one update after the other.
type counter struct {
	object  *corev1.ConfigMap
	watched watch.Interface
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	acked   int // the last count that was acknowledged
	lastAck time.Time
	longest time.Duration // longest pause between two acknowledgements since the last mark
	changed chan struct{} // closed and replaced at each acknowledgement
	seen    []int         // counts that the watch has told
	broken  error         // what the watch or the counting must not do
}

const countField = "count"

func startCounter(t *testing.T) *counter {
	t.Helper()
	c := &counter{changed: make(chan struct{}), object: &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "counter-"}, Data: map[string]string{countField: "0"},
	}}
	if err := kube.Create(t.Context(), c.object); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	var err error
	c.watched, err = kube.Watch(ctx, &corev1.ConfigMapList{}, &client.ListOptions{
		Namespace: namespace, FieldSelector: fields.OneTermEqualSelector("metadata.name", c.object.Name),
		Raw: &metav1.ListOptions{ResourceVersion: c.object.ResourceVersion},
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	c.done.Go(func() { c.watch() })
	c.done.Go(func() { c.count(ctx) })
	t.Cleanup(func() {
		cancel()
		c.watched.Stop()
		c.done.Wait()
		_ = kube.Delete(context.Background(), c.object)
	})
	return c
}

// count adds one again and again. After an update that failed it looks whether it was done: nothing else writes the object.
func (c *counter) count(ctx context.Context) {
	ticker := time.NewTicker(writePause)
	defer ticker.Stop()
	object := c.object.DeepCopy()
	for n := 1; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		object.Data[countField] = strconv.Itoa(n)
		err := kube.Update(try, object)
		if err == nil {
			c.ack(n)
			n++
		} else if read := kube.Get(try, client.ObjectKeyFromObject(object), object); read == nil {
			held, _ := strconv.Atoi(object.Data[countField])
			if held != n && held != n-1 {
				c.fail(fmt.Errorf("%d was acknowledged, and %d is held", n-1, held))
			}
			n = held + 1
		}
		cancel()
	}
}

func (c *counter) ack(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.longest = max(c.longest, now.Sub(c.lastAck))
	c.acked, c.lastAck = n, now
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *counter) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = errors.Join(c.broken, err)
}

// watch notes what is told. The API server may end no watch only because its store lost a member.
func (c *counter) watch() {
	for e := range c.watched.ResultChan() {
		object, ok := e.Object.(*corev1.ConfigMap)
		if e.Type != watch.Modified || !ok {
			c.fail(fmt.Errorf("the watch tells %s %v", e.Type, e.Object))
			return
		}
		n, _ := strconv.Atoi(object.Data[countField])
		c.mu.Lock()
		c.seen = append(c.seen, n)
		c.mu.Unlock()
	}
}

// mark begins to measure pauses anew.
func (c *counter) mark() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.longest, c.lastAck = 0, time.Now()
}

func (c *counter) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.longest
}

// waitCounts waits until so many more counts were acknowledged.
func (c *counter) waitCounts(t *testing.T, more int) {
	t.Helper()
	deadline := time.After(firstAckTimeout)
	c.mu.Lock()
	target := c.acked + more
	c.mu.Unlock()
	for {
		c.mu.Lock()
		acked, changed, broken := c.acked, c.changed, c.broken
		c.mu.Unlock()
		if broken != nil {
			t.Fatal(broken)
		}
		if acked >= target {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%d counts in %v, want %d", acked, firstAckTimeout, target)
		}
	}
}

// end shows that what was acknowledged is held, and that the watch told of it without a gap or a repeat.
func (c *counter) end(t *testing.T) {
	t.Helper()
	c.waitCounts(t, 1)
	eventually(t, "the watch tells the last count", func(ctx context.Context) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.broken != nil {
			t.Fatal(c.broken)
		}
		for i, n := range c.seen {
			if n != i+1 {
				t.Fatalf("the watch told %d at place %d: ... %v", n, i+1, c.seen[max(0, i-3):i+1])
			}
		}
		if len(c.seen) < c.acked {
			return fmt.Errorf("%d of %d", len(c.seen), c.acked)
		}
		return nil
	})
	var held corev1.ConfigMap
	if err := kube.Get(t.Context(), client.ObjectKeyFromObject(c.object), &held); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	acked := c.acked
	c.mu.Unlock()
	if n, err := strconv.Atoi(held.Data[countField]); err != nil || n < acked {
		t.Errorf("%d was acknowledged, and %q is held", acked, held.Data[countField])
	}
}
