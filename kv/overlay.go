package kv

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// overlayTableHeight bounds the levels of the skip list: enough for 4^12 versions.
	overlayTableHeight = 12
	// overlayNodeBytes is what a version costs in memory beside its key and value, roughly.
	overlayNodeBytes = 256
	// overlayChunk is how many nodes are allocated at once.
	overlayChunk = 32
	// settleMost is how many versions may be left for a reader to put in order, which then takes it some milliseconds.
	settleMost = 16384
)

// overlay holds versions that are not in the store yet. One writer adds to it; nothing is ever removed from it.
//
// A version that was added is in the order of the writes at first, in a layer, and the writer finds the newest one of a key in a map. It comes into the order of
// the index, by key, the newest first, once somebody reads in any other way, with all that came before it: to sort many and put them in with one walk takes far fewer
// comparisons than to search a place for each one. That order is a skip list, which is added to under a lock while any number of goroutines read it
// without. Readers leave out what is newer than the revision that they read at, so they do not see what is added meanwhile.
type overlay struct {
	head overlayNode

	// settling is held while versions are put in order: settleMost of them and those of one batch at most.
	settling sync.Mutex
	settled  atomic.Int64 // how many versions are in order, the first ones that were added; written under settling
	random   uint64       // guarded by settling

	// The rest is the writer's. latest holds the newest version of each key.
	latest map[string]*overlayNode
	free   []overlayNode
	bytes  int
}

type overlayNode struct {
	key []byte
	version
	next []atomic.Pointer[overlayNode] // set when it is put in order
}

// layer is an overlay as it is in one state.
type layer struct {
	*overlay
	// order is what it holds, in the order of the writes. Later states have the same and more, so whoever has a state may read its own.
	order []*overlayNode
}

// newLayer returns an empty layer with room for so many keys and writes.
func newLayer(keys, writes int) layer {
	return layer{order: make([]*overlayNode, 0, writes), overlay: &overlay{
		head:   overlayNode{next: make([]atomic.Pointer[overlayNode], overlayTableHeight)},
		random: 0x9e3779b97f4a7c15,
		latest: make(map[string]*overlayNode, keys),
	}}
}

// add adds a version that is newer than all there are of its key. It keeps the slices. Only the writer's own layer may be added to.
func (l *layer) add(key []byte, v version) {
	o := l.overlay
	if len(o.free) == 0 {
		o.free = make([]overlayNode, overlayChunk)
	}
	n := &o.free[0]
	o.free = o.free[1:]
	n.key, n.version = key, v
	l.order = append(l.order, n)
	o.latest[string(key)] = n
	o.bytes += len(key) + len(v.value) + overlayNodeBytes
}

// unsettled is how many versions of the layer are not in order.
func (l *layer) unsettled() int { return len(l.order) - int(l.settled.Load()) }

// settle puts all that the layer holds in the order of the index. It has to come before every other read of that order.
func (l *layer) settle() {
	if l.unsettled() <= 0 {
		return
	}
	l.settling.Lock()
	defer l.settling.Unlock()
	if n := l.unsettled(); n > 0 {
		l.insert(sortVersions(l.order[len(l.order)-n:]))
		l.settled.Store(int64(len(l.order)))
	}
}

// placed is a version with the first bytes of its key in which the keys that it is sorted with can differ.
type placed struct {
	word uint64
	node *overlayNode
}

// sortVersions returns the nodes in the order of the index.
func sortVersions(nodes []*overlayNode) []placed {
	shared := sharedPrefix(nodes)
	out := make([]placed, len(nodes))
	for i, n := range nodes {
		out[i] = placed{leadingWord(n.key[shared:]), n}
	}
	slices.SortFunc(out, func(a, b placed) int {
		if c := cmp.Compare(a.word, b.word); c != 0 {
			return c
		}
		return compareVersions(a.node.key, a.node.mod, b.node)
	})
	return out
}

// sharedPrefix returns how many bytes the keys begin with in common.
func sharedPrefix(nodes []*overlayNode) int {
	prefix := nodes[0].key
	for _, n := range nodes[1:] {
		if bytes.HasPrefix(n.key, prefix) {
			continue
		}
		i := 0
		for i < len(n.key) && n.key[i] == prefix[i] {
			i++
		}
		prefix = prefix[:i]
	}
	return len(prefix)
}

// leadingWord returns the first bytes of b as a number. Where these differ, they are in the order of the byte strings: a string that is shorter has
// zeros there, than which no byte is less.
func leadingWord(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	var word uint64
	for i, c := range b {
		word |= uint64(c) << (56 - 8*i)
	}
	return word
}

// compareVersions orders by key, then from the newest to the oldest revision.
func compareVersions(key []byte, mod uint64, n *overlayNode) int {
	if c := bytes.Compare(key, n.key); c != 0 {
		return c
	}
	return cmp.Compare(n.mod, mod)
}

// insert adds nodes that are in order to the skip list. The caller holds settling.
func (o *overlay) insert(nodes []placed) {
	// before has, for each level, the last node on it that comes before the place of the next one: the search begins where the one before it ended.
	var before [overlayTableHeight]*overlayNode
	for level := range before {
		before[level] = &o.head
	}
	var links []atomic.Pointer[overlayNode]
	for i, p := range nodes {
		n := p.node
		o.search(&before, n)
		height := o.height()
		if len(links) < height {
			links = make([]atomic.Pointer[overlayNode], max(height, len(nodes)-i))
		}
		n.next, links = links[:height:height], links[height:]
		for level := range n.next {
			n.next[level].Store(before[level].next[level].Load())
		}
		// From the bottom up: a reader that meets the node on a level finds its way on below.
		for level := range n.next {
			before[level].next[level].Store(n)
			before[level] = n
		}
	}
}

// search moves before to the place of n, which is not before where it is.
func (o *overlay) search(before *[overlayTableHeight]*overlayNode, n *overlayNode) {
	// Up to the first level on which nothing is passed over. What follows on a level follows on all below it too, so nothing is passed over above.
	top := 0
	var behind *overlayNode // a node that was found to come later: a lower level may lead to it again
	for ; top < overlayTableHeight; top++ {
		if next := before[top].next[top].Load(); next == nil || compareVersions(n.key, n.mod, next) <= 0 {
			behind = next
			break
		}
	}
	if top == 0 {
		return
	}
	at := before[top-1]
	for level := top - 1; level >= 0; level-- {
		for {
			next := at.next[level].Load()
			if next == behind {
				break
			}
			if next == nil || compareVersions(n.key, n.mod, next) <= 0 {
				behind = next
				break
			}
			at = next
		}
		before[level] = at
	}
}

// height draws the number of levels of a node: one more with a chance of one in four each.
func (o *overlay) height() int {
	o.random ^= o.random << 13
	o.random ^= o.random >> 7
	o.random ^= o.random << 17
	return min(1+bits.TrailingZeros64(o.random)/2, overlayTableHeight)
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
