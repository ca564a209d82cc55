//go:build linux

package powerloss

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/test/powerloss/disk"
)

const (
	writers       = 4
	keysPerStream = 7
	// mostValueBytes is the longest value; most are short.
	mostValueBytes = 6000
	// deleteOneIn is how rare deletes are.
	deleteOneIn = 8
	// requestTimeout is after the node's own.
	requestTimeout = 10 * time.Second
)

// write is one write of a client.
type write struct {
	key, value string
	remove     bool
	// sent is the disk's operation count before the request, acked that after the answer; zero means no answer.
	sent, acked int
	revision    uint64
}

// stream is a row of writes to keys of its own, each sent when the one before was acknowledged. Its first part is all that
// there may ever be of it.
type stream struct {
	name   string
	writes []write
	held   map[string]string
}

// history is all that clients did.
type history struct {
	disk *disk.Disk

	mu      sync.Mutex
	streams []*stream
}

func (h *history) open(writer int) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &stream{name: fmt.Sprintf("%d.%d", writer, len(h.streams)), held: map[string]string{}}
	h.streams = append(h.streams, s)
	return s
}

// draw begins the next write of a stream.
func (h *history) draw(s *stream, random *rand.Rand) *write {
	w := write{key: fmt.Sprintf("%s/%d", s.name, random.IntN(keysPerStream))}
	_, there := s.held[w.key]
	if w.remove = there && random.IntN(deleteOneIn) == 0; !w.remove {
		length := random.IntN(200)
		if random.IntN(4) == 0 {
			length = random.IntN(mostValueBytes)
		}
		w.value = fmt.Sprintf("%d:%s", len(s.writes), strings.Repeat(string(rune('a'+random.IntN(26))), length))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w.sent = h.disk.Operations()
	s.writes = append(s.writes, w)
	return &s.writes[len(s.writes)-1]
}

func (h *history) acknowledged(s *stream, w *write, revision uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.acked, w.revision = h.disk.Operations(), revision
	if w.remove {
		delete(s.held, w.key)
	} else {
		s.held[w.key] = w.value
	}
}

// load has the writers write some more. during is called when about half is done, while they go on.
func (h *history) load(t *testing.T, c *cluster, random *rand.Rand, writes int, during func()) {
	t.Helper()
	half := make(chan struct{})
	var running sync.WaitGroup
	for n := range writers {
		own := rand.New(rand.NewPCG(random.Uint64(), uint64(n)))
		running.Go(func() {
			s := h.open(n)
			for i := range writes {
				if i == writes/2 && n == 0 {
					close(half)
				}
				w := h.draw(s, own)
				revision, ok := c.write(t, c.machines[own.IntN(len(c.machines))], w, own)
				if !ok {
					s = h.open(n) // that write may still come, at any time
					continue
				}
				h.acknowledged(s, w, revision)
			}
		})
	}
	<-half
	if during != nil {
		during()
	}
	running.Wait()
}

// write sends a write until it is answered for sure; false means that nobody knows.
func (c *cluster) write(t *testing.T, m *machine, w *write, random *rand.Rand) (revision uint64, ok bool) {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		method := http.MethodPut
		if w.remove {
			method = http.MethodDelete
		}
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		request, err := http.NewRequestWithContext(ctx, method, "http://"+m.client+"/v1/kv/"+w.key, strings.NewReader(w.value))
		if err != nil {
			cancel()
			t.Error(err)
			return 0, false
		}
		response, err := c.http.Do(request)
		if err != nil {
			cancel()
			return 0, false
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		cancel()
		switch {
		case err != nil || response.StatusCode == http.StatusGatewayTimeout:
			return 0, false
		case response.StatusCode == http.StatusOK:
			var answer struct {
				Revision uint64 `json:",string"`
			}
			if err := json.Unmarshal(body, &answer); err != nil {
				t.Errorf("%s %s: %v in %q", method, w.key, err, body)
			}
			return answer.Revision, true
		case response.StatusCode != http.StatusServiceUnavailable && response.StatusCode != http.StatusTooManyRequests:
			t.Errorf("%s %s: %s: %s", method, w.key, response.Status, body)
			return 0, false
		}
		time.Sleep(pollPause) // surely not applied: another member may lead by now
		m = c.machines[random.IntN(len(c.machines))]
	}
	return 0, false
}

// list reads everything through the front end of a member.
func (c *cluster) list(m *machine) ([]kv.KeyValue, error) {
	var out []kv.KeyValue
	next := ""
	for {
		query := url.Values{"prefix": {"true"}}
		if next != "" {
			query.Set("continue", next)
		}
		response, err := c.http.Get("http://" + m.client + "/v1/kv/?" + query.Encode())
		if err != nil {
			return nil, err
		}
		var page struct {
			Items []struct {
				Key, Value  []byte
				ModRevision uint64 `json:",string"`
			}
			More     bool
			Continue string
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", response.Status, body)
		}
		if err == nil {
			err = json.NewDecoder(bytes.NewReader(body)).Decode(&page)
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", m.name, err)
		}
		for _, x := range page.Items {
			out = append(out, kv.KeyValue{Key: x.Key, Value: x.Value, ModRevision: x.ModRevision})
		}
		if !page.More {
			return out, nil
		}
		next = page.Continue
	}
}

// acked tells whether anything was acknowledged before a cut.
func (h *history) acked(cut int) bool {
	for _, s := range h.streams {
		if len(s.writes) > 0 && s.writes[0].acked != 0 && s.writes[0].acked <= cut {
			return true
		}
	}
	return false
}

// check tells what is wrong with what was found after a power cut. No writer may run.
func (h *history) check(found []kv.KeyValue, cut int) error {
	byStream := map[string]map[string]kv.KeyValue{}
	for _, x := range found {
		name, _, _ := strings.Cut(string(x.Key), "/")
		if byStream[name] == nil {
			byStream[name] = map[string]kv.KeyValue{}
		}
		byStream[name][string(x.Key)] = x
	}
	for _, s := range h.streams {
		if err := s.check(byStream[s.name], cut); err != nil {
			return err
		}
		delete(byStream, s.name)
	}
	for name := range byStream {
		return fmt.Errorf("keys of %q are there, which nobody wrote", name)
	}
	return nil
}

func (s *stream) check(found map[string]kv.KeyValue, cut int) error {
	state := map[string]*write{}
	var differs error
	for n := 0; ; n++ {
		// The state after the first n writes: it will do unless the next was acknowledged.
		if n == len(s.writes) || s.writes[n].acked == 0 || s.writes[n].acked > cut {
			if err := compare(state, found); err == nil {
				return nil
			} else if differs == nil {
				differs = fmt.Errorf("%d writes to %s were acknowledged, but %w", n, s.name, err)
			}
		}
		if n == len(s.writes) || s.writes[n].sent > cut {
			return differs
		}
		if w := &s.writes[n]; w.remove {
			delete(state, w.key)
		} else {
			state[w.key] = w
		}
	}
}

func compare(want map[string]*write, found map[string]kv.KeyValue) error {
	for key, w := range want {
		x, there := found[key]
		switch {
		case !there:
			return fmt.Errorf("%s is not there, it should be %.20q", key, w.value)
		case string(x.Value) != w.value:
			return fmt.Errorf("%s is %.20q, it should be %.20q", key, x.Value, w.value)
		case w.acked != 0 && x.ModRevision != w.revision:
			return fmt.Errorf("%s is of revision %d, its client was told %d", key, x.ModRevision, w.revision)
		}
	}
	for key, x := range found {
		if want[key] == nil {
			return fmt.Errorf("%s is %.20q, it should not be there", key, x.Value)
		}
	}
	return nil
}
