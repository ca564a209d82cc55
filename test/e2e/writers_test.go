//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	writerCount = 4
	// registerWriters and registerReaders share keys with each other; their history must be linearizable.
	registerWriters, registerReaders = 2, 2
	registerPause                    = 80 * time.Millisecond
	// writePause is between two writes of one writer: a stream, not a load test, so that a scenario's keys can be
	// compared on every member.
	writePause = 40 * time.Millisecond
	// firstAckTimeout bounds the wait for a stream's first write, and for writes after a fault.
	firstAckTimeout = 2 * time.Minute
)

// stream is the clients of a cluster, through its Service, until it is stopped. Writers write each key once and remember every outcome;
// others write and read keys that they share.
type stream struct {
	cluster string
	prefix  string
	base    string // URL of the keys
	// retryOnce makes a writer send a write that failed once more before it calls it failed.
	retryOnce bool
	shared    *history
	stop      context.CancelFunc
	done      sync.WaitGroup

	mu        sync.Mutex
	client    *http.Client
	acked     map[string]string // key to value, of writes that were acknowledged
	refused   map[string]string // key to the answer, of writes that were surely not applied
	unknown   int               // writes of which nobody knows
	retried   int               // writes that were acknowledged at the second try
	slowest   time.Duration     // longest time that an acknowledged write took since the last mark
	lastAck   time.Time
	longest   time.Duration // longest pause between two acknowledgements since the last mark
	longestAt time.Time     // when that pause began
	worst     time.Duration // longest pause since the stream began
	lastSeen  string        // what the last write that failed was told
	changed   chan struct{} // closed and replaced at each acknowledgement
}

// startStream begins to write and read from the given node's network, and returns after the first acknowledgement.
func startStream(t *testing.T, cluster, node string) *stream {
	t.Helper()
	return start(t, cluster, node, false)
}

func start(t *testing.T, cluster, node string, retryOnce bool) *stream {
	t.Helper()
	var service corev1.Service
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: cluster}, &service); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{
		cluster: cluster, prefix: fmt.Sprintf("e2e/%s/%d/", cluster, time.Now().UnixNano()), stop: cancel, retryOnce: retryOnce,
		base:   "http://" + hostPort(service.Spec.ClusterIP, 2379) + "/v1/kv/",
		client: newHTTPClient(node),
		acked:  make(map[string]string), refused: make(map[string]string), changed: make(chan struct{}),
	}
	s.shared = newHistory(s.prefix + "shared/")
	for w := range writerCount {
		s.done.Go(func() { s.write(ctx, w) })
	}
	for c := range registerWriters + registerReaders {
		s.done.Go(func() { s.share(ctx, c, c >= registerWriters) })
	}
	t.Cleanup(s.end)
	s.waitWrites(t, 1)
	s.mark()
	return s
}

func (s *stream) write(ctx context.Context, writer int) {
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
		s.record(key, value, s.put(ctx, key, value))
	}
}

// outcome of one write.
type outcome struct {
	status  int    // of HTTP; 0 when there was no answer
	unsent  bool   // there was no connection that could carry the request
	text    string // what was answered, or why there was no answer
	took    time.Duration
	retried bool
}

func (o outcome) acknowledged() bool { return o.status/100 == 2 }
func (o outcome) refused() bool      { return o.unsent || o.status == http.StatusServiceUnavailable }

// unsent tells whether a request failed before there was a connection that could carry it.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// put writes a key that nobody else writes, so that to write it twice is to write it once.
func (s *stream) put(ctx context.Context, key, value string) outcome {
	started := time.Now()
	o := s.putOnce(ctx, key, value)
	if first := o; s.retryOnce && !first.acknowledged() && ctx.Err() == nil {
		// Whoever lost a connection dials anew: those that lie idle may lead to the same pod.
		s.through().CloseIdleConnections()
		o = s.putOnce(ctx, key, value)
		o.retried, o.text = true, first.text+", and then "+o.text
		if o.refused() && !first.refused() {
			o.status, o.unsent = first.status, false // nobody knows what became of the first
		}
	}
	o.took = time.Since(started)
	return o
}

func (s *stream) putOnce(ctx context.Context, key, value string) outcome {
	a, err := s.send(ctx, http.MethodPut, key, value)
	if err != nil {
		return outcome{text: err.Error(), unsent: unsent(err)}
	}
	return outcome{status: a.status, text: a.body}
}

// answer to one request.
type answer struct {
	status   int
	revision uint64 // of the key's last change; 0 when it is not told
	body     string
}

func (s *stream) send(ctx context.Context, method, key, value string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.base+key, strings.NewReader(value))
	if err != nil {
		return answer{}, err
	}
	response, err := s.through().Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode}
	a.revision, _ = strconv.ParseUint(response.Header.Get("X-Raftkv-Mod-Revision"), 10, 64)
	body, err := io.ReadAll(response.Body)
	a.body = string(bytes.TrimSpace(body))
	return a, err
}

// through is the client of the node that the clients are on.
func (s *stream) through() *http.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

// share writes or reads the keys that several clients share.
func (s *stream) share(ctx context.Context, client int, reads bool) {
	ticker := time.NewTicker(registerPause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		o := s.shared.begin(client, reads)
		method := http.MethodPut
		if reads {
			method = http.MethodGet
		}
		a, err := s.send(ctx, method, o.key, o.value)
		effect := true
		switch {
		case err != nil:
			effect = !unsent(err)
		case a.status == http.StatusOK:
			o.known, o.revision = true, a.revision
			if reads {
				o.value = a.body
			}
		case a.status == http.StatusNotFound && reads:
			o.known = true
		case a.status == http.StatusServiceUnavailable:
			effect = false
		}
		s.shared.finish(o, effect)
	}
}

func (s *stream) record(key, value string, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.acknowledged() {
		now := time.Now()
		if !s.lastAck.IsZero() {
			if pause := now.Sub(s.lastAck); pause > s.longest {
				s.longest, s.longestAt = pause, s.lastAck
			}
			s.worst = max(s.worst, s.longest)
		}
		s.lastAck = now
		s.slowest = max(s.slowest, o.took)
		if o.retried {
			s.retried++
		}
		s.acked[key] = value
		close(s.changed)
		s.changed = make(chan struct{})
		return
	}
	s.lastSeen = fmt.Sprintf("%d %s", o.status, o.text)
	if o.refused() {
		s.refused[key] = o.text
	} else {
		s.unknown++
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
	s.longest, s.slowest = 0, 0
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
	t.Logf("%s: writes paused for at most %.2f s (so far %d acknowledged, %d surely not applied, %d unknown%s)",
		what, s.longest.Seconds(), len(s.acked), len(s.refused), s.unknown, s.lastFailure())
}

// lastFailure is what the last write that failed was told, in words to append; s.mu is held.
func (s *stream) lastFailure() string {
	if s.lastSeen == "" {
		return ""
	}
	return ", the last with: " + s.lastSeen
}

func (s *stream) end() {
	s.stop()
	s.done.Wait()
	s.shared.end()
	s.client.CloseIdleConnections()
}

// outcomes copies what was acknowledged and what was refused until now.
func (s *stream) outcomes() (acked, refused map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.acked), maps.Clone(s.refused)
}

// shares waits until clients have done something to shared keys that can be checked: a history of nothing would be linearizable.
func (s *stream) shares(t *testing.T) {
	t.Helper()
	eventually(t, "clients share keys of "+s.cluster, func(context.Context) error {
		if !s.shared.checkable() {
			return errors.New("none of them is done with yet")
		}
		return nil
	})
}

// audit waits until each of the cluster's pods holds every write that was acknowledged until now, with its value, and fails
// at once if one holds a write that was answered with "surely not applied", or if the history of the shared keys that are not in use
// any more is not linearizable.
func (s *stream) audit(t *testing.T) {
	t.Helper()
	acked, refused := s.outcomes()
	settled := s.shared.settled()
	eventually(t, fmt.Sprintf("all %d acknowledged writes are on every pod of %s", len(acked), s.cluster), func(ctx context.Context) error {
		all, err := pods(ctx, s.cluster)
		if err != nil {
			return err
		}
		everywhere := map[string]string{}
		for i, name := range slices.Sorted(maps.Keys(all)) {
			held, err := keysOn(ctx, all[name], s.prefix)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for key, answer := range refused {
				if _, ok := held[key]; ok {
					t.Fatalf("%s holds %s, whose write was surely not applied: %s", name, key, answer)
				}
			}
			if err := compare(acked, held); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for _, key := range settled {
				if i > 0 && held[key] != everywhere[key] {
					return fmt.Errorf("%s holds %q for %s, another member %q", name, held[key], key, everywhere[key])
				}
				everywhere[key] = held[key]
			}
		}
		s.shared.check(t, settled, everywhere)
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
