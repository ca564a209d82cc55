package rpc

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// LatencyBuckets is the number of buckets of a Latency, the last of which has no bound.
	LatencyBuckets = 20
	// firstBucketBits: the first bucket holds what took less than 2^14 ns (16 us); each further one reaches twice as far, to 4.3 s.
	firstBucketBits = 14
)

// LatencyBound is what the calls in a bucket took less than; 0 for the last bucket, which has no bound.
func LatencyBound(bucket int) time.Duration {
	if bucket >= LatencyBuckets-1 {
		return 0
	}
	return 1 << (firstBucketBits + bucket)
}

// Latency is a histogram of how long calls took.
type Latency struct {
	Buckets [LatencyBuckets]uint64 // not cumulative; see LatencyBound
	Sum     time.Duration
}

// MethodStats is what became of the calls of one method. Numbers only grow, but for Running.
type MethodStats struct {
	Method    string // "service.Method"
	OneWay    bool   // no answer travels back: at the caller a success is a message in the connection's queue
	Successes uint64
	Failures  uint64
	Running   int64   // begun and not ended
	Latency   Latency // of both; empty at the caller of a one-way method
}

// CallStats is a reading of a Calls, or of a server.
type CallStats struct {
	Methods      []MethodStats // by name
	Connections  int64         // that stand now
	BytesRead    uint64
	BytesWritten uint64
	// QueuedFrames wait to be written now, QueuedCalls wait for a handler's goroutine (at a server).
	QueuedFrames, QueuedCalls int
}

// Calls counts the calls and bytes of any number of connections; see ClientOptions.Calls and Server.Stats. The zero value is ready.
type Calls struct {
	bytesRead, bytesWritten atomic.Uint64

	mu      sync.Mutex
	methods map[string]*methodCounters
	links   map[*link]struct{}
}

// methodCounters of one method. A nil one counts nothing.
type methodCounters struct {
	name                string
	oneWay              bool
	successes, failures atomic.Uint64
	running, sum        atomic.Int64
	buckets             [LatencyBuckets]atomic.Uint64
}

// clock is the start of all measurements; a difference to it is cheaper than two points in time.
var clock = time.Now()

func (m *methodCounters) begin() time.Duration {
	if m == nil {
		return 0
	}
	m.running.Add(1)
	return time.Since(clock)
}

// end counts a call that began then.
func (m *methodCounters) end(began time.Duration, ok bool) {
	if m == nil {
		return
	}
	took := time.Since(clock) - began
	m.running.Add(-1)
	m.sum.Add(int64(took))
	m.buckets[bucketOf(took)].Add(1)
	m.count(ok)
}

func bucketOf(took time.Duration) int {
	return min(bits.Len64(uint64(max(took, 0))>>firstBucketBits), LatencyBuckets-1)
}

func (m *methodCounters) count(ok bool) {
	switch {
	case m == nil:
	case ok:
		m.successes.Add(1)
	default:
		m.failures.Add(1)
	}
}

func (m *methodCounters) read() MethodStats {
	s := MethodStats{
		Method: m.name, OneWay: m.oneWay, Successes: m.successes.Load(), Failures: m.failures.Load(), Running: m.running.Load(),
		Latency: Latency{Sum: time.Duration(m.sum.Load())},
	}
	for i := range m.buckets {
		s.Latency.Buckets[i] = m.buckets[i].Load()
	}
	return s
}

// method gives the counters of a method; their number is bounded by the methods that the program has.
func (c *Calls) method(name string, oneWay bool) *methodCounters {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.methods == nil {
		c.methods = map[string]*methodCounters{}
	}
	if c.methods[name] == nil {
		c.methods[name] = &methodCounters{name: name, oneWay: oneWay}
	}
	return c.methods[name]
}

func (c *Calls) connected(l *link) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.links == nil {
		c.links = map[*link]struct{}{}
	}
	c.links[l] = struct{}{}
}

func (c *Calls) disconnected(l *link) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, l)
}

func (c *Calls) read(n int) {
	if c != nil && n > 0 {
		c.bytesRead.Add(uint64(n))
	}
}

func (c *Calls) wrote(n int) {
	if c != nil && n > 0 {
		c.bytesWritten.Add(uint64(n))
	}
}

// Stats reads the counters.
func (c *Calls) Stats() CallStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := CallStats{Connections: int64(len(c.links)), BytesRead: c.bytesRead.Load(), BytesWritten: c.bytesWritten.Load()}
	for l := range c.links {
		s.QueuedFrames += l.out.waiting()
	}
	for _, m := range c.methods {
		s.Methods = append(s.Methods, m.read())
	}
	slices.SortFunc(s.Methods, func(a, b MethodStats) int { return cmp.Compare(a.Method, b.Method) })
	return s
}

// Stats reads the counters of all connections of the server, past and present. Refused connections count for nothing.
func (s *Server) Stats() CallStats {
	stats := s.calls.Stats()
	for _, sc := range s.connections() {
		stats.QueuedCalls += sc.workers.length()
	}
	return stats
}
