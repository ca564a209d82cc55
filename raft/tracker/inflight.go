package tracker

// Inflight bounds the append messages that were sent and not answered, in number and in bytes.
// It is a ring of (last index, bytes), oldest first.
type Inflight struct {
	maxMessages int
	maxBytes    int
	bytes       int
	start, size int
	ring        []sent
}

type sent struct {
	last  uint64
	bytes int
}

// NewInflight returns an empty window of at most maxMessages messages and maxBytes bytes. One message is
// always let through, however large.
func NewInflight(maxMessages, maxBytes int) *Inflight {
	return &Inflight{maxMessages: maxMessages, maxBytes: maxBytes}
}

// Full tells whether sending has to wait.
func (f *Inflight) Full() bool {
	return f.size >= f.maxMessages || (f.size > 0 && f.bytes >= f.maxBytes)
}

// Add records a message whose last entry has that index. The window must not be full.
func (f *Inflight) Add(last uint64, bytes int) {
	if f.Full() {
		panic("tracker: a message was sent past a full window")
	}
	if f.size == len(f.ring) {
		f.grow()
	}
	f.ring[(f.start+f.size)%len(f.ring)] = sent{last, bytes}
	f.size++
	f.bytes += bytes
}

func (f *Inflight) grow() {
	bigger := make([]sent, min(max(2*len(f.ring), 16), max(f.maxMessages, 1)))
	for i := range f.size {
		bigger[i] = f.ring[(f.start+i)%len(f.ring)]
	}
	f.ring, f.start = bigger, 0
}

// Free forgets all messages whose last entry is at or below index.
func (f *Inflight) Free(index uint64) {
	for f.size > 0 && f.ring[f.start].last <= index {
		f.bytes -= f.ring[f.start].bytes
		f.start = (f.start + 1) % len(f.ring)
		f.size--
	}
}

// Reset forgets all messages.
func (f *Inflight) Reset() { f.start, f.size, f.bytes = 0, 0, 0 }

// Len returns the number of messages in flight, Bytes the bytes of their entries.
func (f *Inflight) Len() int { return f.size }

// Bytes returns the bytes of the entries in flight.
func (f *Inflight) Bytes() int { return f.bytes }
