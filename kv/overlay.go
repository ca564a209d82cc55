package kv

import (
	"bytes"
	"sync/atomic"
)

// overlayTableHeight bounds the levels of the skip list: enough for 4^12 versions.
const overlayTableHeight = 12

// overlayNodeBytes is what a version costs in memory beside its key and value, roughly.
const overlayNodeBytes = 256

// overlay holds versions that are not in the store yet, in the order of the index: by key, the newest
// first. It is a skip list that one writer adds to while any number of goroutines read it without locks; nothing
// is ever removed from it. Readers leave out what is newer than the revision that they read at, so they do not see
// a transaction that is still being applied.
type overlay struct {
	head   overlayNode
	random uint64

	// The rest is the writer's. latest holds the newest version of each key, which is what the writer asks for.
	latest map[string]*overlayNode
	order  []*overlayNode // in the order of the writes
	bytes  int
}

type overlayNode struct {
	key []byte
	version
	next []atomic.Pointer[overlayNode]
}

func newOverlay() *overlay {
	return &overlay{
		head:   overlayNode{next: make([]atomic.Pointer[overlayNode], overlayTableHeight)},
		random: 0x9e3779b97f4a7c15,
		latest: map[string]*overlayNode{},
	}
}

// compareVersions orders by key, then from the newest to the oldest revision.
func compareVersions(key []byte, mod uint64, n *overlayNode) int {
	if c := bytes.Compare(key, n.key); c != 0 {
		return c
	}
	switch {
	case mod > n.mod:
		return -1
	case mod < n.mod:
		return 1
	}
	return 0
}

// add inserts a version that is newer than all there are of its key. The overlay keeps the slices.
func (o *overlay) add(key []byte, v version) {
	var before [overlayTableHeight]*overlayNode
	at := &o.head
	var behind *overlayNode // a node that was found to come later: the next level may lead to it again
	for level := overlayTableHeight - 1; level >= 0; level-- {
		for {
			next := at.next[level].Load()
			if next == behind {
				break
			}
			if compareVersions(key, v.mod, next) <= 0 {
				behind = next
				break
			}
			at = next
		}
		before[level] = at
	}
	n := &overlayNode{key: key, version: v, next: make([]atomic.Pointer[overlayNode], o.height())}
	for level := range n.next {
		n.next[level].Store(before[level].next[level].Load())
	}
	// From the bottom up: a reader that meets the node on a level finds its way on below.
	for level := range n.next {
		before[level].next[level].Store(n)
	}
	o.order = append(o.order, n)
	o.latest[string(key)] = n
	o.bytes += len(key) + len(v.value) + overlayNodeBytes
}

// height draws the number of levels of a node: one more with a chance of one in four each.
func (o *overlay) height() int {
	o.random ^= o.random << 13
	o.random ^= o.random >> 7
	o.random ^= o.random << 17
	h := 1
	for r := o.random; r&3 == 0 && h < overlayTableHeight; r >>= 2 {
		h++
	}
	return h
}

// seek returns the first node at or behind the version of key at revision mod.
func (o *overlay) seek(key []byte, mod uint64) *overlayNode {
	at := &o.head
	var next *overlayNode
	for level := overlayTableHeight - 1; level >= 0; level-- {
		for {
			// What is returned is what was compared: the writer may put another node in front of it at any time.
			next = at.next[level].Load()
			if next == nil || compareVersions(key, mod, next) <= 0 {
				break
			}
			at = next
		}
	}
	return next
}

// get returns the newest version of the key at or before the revision.
func (o *overlay) get(key []byte, revision uint64) (version, bool) {
	n := o.seek(key, revision)
	if n == nil || !bytes.Equal(n.key, key) {
		return version{}, false
	}
	return n.version, true
}

// overlayCursor walks the keys of an overlay that have a version at or before a revision.
type overlayCursor struct {
	overlay  *overlay
	revision uint64
	at       *overlayNode
}

func (c *overlayCursor) seek(key []byte) error {
	c.at = c.overlay.seek(key, c.revision)
	c.settle()
	return nil
}

// stepsBeforeSeek is how many versions of one key are stepped over before a seek passes all of them.
const stepsBeforeSeek = 8

// settle moves on to the newest version of a key that is visible.
func (c *overlayCursor) settle() {
	for c.at != nil && c.at.mod > c.revision {
		c.at = c.overlay.seek(c.at.key, c.revision)
	}
}

func (c *overlayCursor) next() error {
	key := c.at.key
	for i := 0; c.at != nil && bytes.Equal(c.at.key, key); i++ {
		if i == stepsBeforeSeek {
			// Nothing is at revision zero, so this is behind all versions of the key.
			c.at = c.overlay.seek(key, 0)
			continue
		}
		c.at = c.at.next[0].Load()
	}
	c.settle()
	return nil
}

func (c *overlayCursor) key() []byte {
	if c.at == nil {
		return nil
	}
	return c.at.key
}

func (c *overlayCursor) version() *version { return &c.at.version }
