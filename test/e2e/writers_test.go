//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	writerCount = 4
	// writePause is between two writes of one writer: a stream, not a load test, so that a scenario's keys can be
	// compared on every member.
	writePause = 40 * time.Millisecond
	// firstAckTimeout bounds the wait for a stream's first write, and for writes after a fault.
	firstAckTimeout = 2 * time.Minute
)

// stream writes keys through the cluster's Service until it is stopped, each key once, and remembers every outcome.
type stream struct {
	cluster string
	prefix  string
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu       sync.Mutex
	client   *http.Client
	acked    map[string]string // key to value, of writes that were acknowledged
	refused  map[string]string // key to the answer, of writes that were answered with "surely not applied"
	unknown  int               // writes of which nobody knows
	lastAck  time.Time
	longest  time.Duration // longest pause between two acknowledgements since the last mark
	lastSeen string        // what the last write that failed was told
	changed  chan struct{} // closed and replaced at each acknowledgement
}

// startStream begins to write from the given node's network, and returns after the first acknowledgement.
func startStream(t *testing.T, cluster, node string) *stream {
	t.Helper()
	var service corev1.Service
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: cluster}, &service); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{
		cluster: cluster, prefix: fmt.Sprintf("e2e/%s/%d/", cluster, time.Now().UnixNano()), stop: cancel,
		client: newHTTPClient(node),
		acked:  make(map[string]string), refused: make(map[string]string), changed: make(chan struct{}),
	}
	base := "http://" + hostPort(service.Spec.ClusterIP, 2379) + "/v1/kv/"
	for w := range writerCount {
		s.done.Go(func() { s.write(ctx, base, w) })
	}
	t.Cleanup(s.end)
	s.waitWrites(t, 1)
	s.mark()
	return s
}

func (s *stream) write(ctx context.Context, base string, writer int) {
	ticker := time.NewTicker(writePause)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		key := fmt.Sprintf("%s%d-%06d", s.prefix, writer, n)
		value := fmt.Sprintf("value %d of writer %d", n, writer)
		s.record(key, value, s.put(ctx, base+key, value))
	}
}

// outcome of one write.
type outcome struct {
	status int    // of HTTP; 0 when there was no answer
	text   string // what was answered, or why there was no answer
}

func (s *stream) put(ctx context.Context, url, value string) outcome {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader([]byte(value)))
	if err != nil {
		return outcome{0, err.Error()}
	}
	s.mu.Lock()
	client := s.client
	s.mu.Unlock()
	response, err := client.Do(request)
	if err != nil {
		return outcome{0, err.Error()}
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return outcome{response.StatusCode, string(bytes.TrimSpace(body))}
}

func (s *stream) record(key, value string, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o.status {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		now := time.Now()
		if !s.lastAck.IsZero() {
			s.longest = max(s.longest, now.Sub(s.lastAck))
		}
		s.lastAck = now
		s.acked[key] = value
		close(s.changed)
		s.changed = make(chan struct{})
	case http.StatusServiceUnavailable:
		s.refused[key] = o.text
		s.lastSeen = o.text
	default:
		s.unknown++
		s.lastSeen = fmt.Sprintf("%d %s", o.status, o.text)
	}
}

// via goes on from another node's network.
func (s *stream) via(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client.CloseIdleConnections()
	s.client = newHTTPClient(node)
}

// mark begins to measure the pause between acknowledgements anew.
func (s *stream) mark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longest = 0
}

// waitWrites waits until that many more writes are acknowledged.
func (s *stream) waitWrites(t *testing.T, more int) {
	t.Helper()
	timeout := time.NewTimer(firstAckTimeout)
	defer timeout.Stop()
	s.mu.Lock()
	want := len(s.acked) + more
	s.mu.Unlock()
	for {
		s.mu.Lock()
		have, changed, last := len(s.acked), s.changed, s.lastSeen
		s.mu.Unlock()
		if have >= want {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			t.Fatalf("writes to %s do not go on: %d acknowledged in %v, %d wanted; the last failure: %s",
				s.cluster, more-(want-have), firstAckTimeout, more, last)
		}
	}
}

// report logs how long writes paused since the last mark, and what became of all writes so far.
func (s *stream) report(t *testing.T, what string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Logf("%s: writes paused for at most %.2f s (so far %d acknowledged, %d surely not applied, %d unknown)",
		what, s.longest.Seconds(), len(s.acked), len(s.refused), s.unknown)
}

func (s *stream) end() {
	s.stop()
	s.done.Wait()
	s.client.CloseIdleConnections()
}

// outcomes copies what was acknowledged and what was refused until now.
func (s *stream) outcomes() (acked, refused map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.acked), maps.Clone(s.refused)
}

// audit waits until each of the cluster's pods holds every write that was acknowledged until now, with its value, and fails
// at once if one holds a write that was answered with "surely not applied".
func (s *stream) audit(t *testing.T) {
	t.Helper()
	acked, refused := s.outcomes()
	eventually(t, fmt.Sprintf("all %d acknowledged writes are on every pod of %s", len(acked), s.cluster), func(ctx context.Context) error {
		all, err := pods(ctx, s.cluster)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			held, err := keysOn(ctx, all[name], s.prefix)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for key, answer := range refused {
				if _, ok := held[key]; ok {
					t.Fatalf("%s holds %s, whose write was answered with 503, surely not applied: %s", name, key, answer)
				}
			}
			if err := compare(acked, held); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
}

func compare(acked, held map[string]string) error {
	var missing []string
	for key, value := range acked {
		got, ok := held[key]
		if !ok {
			missing = append(missing, key)
		} else if got != value {
			return fmt.Errorf("%s is %q, acknowledged was %q", key, got, value)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("%d of %d acknowledged writes are missing, among them %v", len(missing), len(acked), missing[:min(3, len(missing))])
	}
	return nil
}
