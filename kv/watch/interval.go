package watch

import (
	"hash/maphash"
	"strings"

	"github.com/raftkv/raftkv/kv"
)

// span is a range as the tree compares it.
type span struct {
	start, end string
	endless    bool
}

func spanOf(r kv.KeyRange) span {
	s := span{start: string(r.Start), end: string(r.End)}
	if s.end == "\x00" {
		s.end, s.endless = "", true
	}
	return s
}

func (s span) compare(o span) int {
	if c := strings.Compare(s.start, o.start); c != 0 {
		return c
	}
	return s.compareEnd(o)
}

func (s span) compareEnd(o span) int {
	switch {
	case s.endless && o.endless:
		return 0
	case s.endless:
		return 1
	case o.endless:
		return -1
	}
	return strings.Compare(s.end, o.end)
}

// endsBehind tells whether the span reaches over a key that is not before its start.
func (s span) endsBehind(key string) bool { return s.endless || key < s.end }

// intervals is a search tree by the start of ranges, balanced by random priorities, in which every node knows the farthest end
// below it, so that all ranges that hold a key are found without looking at many others.
type intervals struct {
	root *interval
	seed maphash.Seed
}

type interval struct {
	span        span
	group       *group
	priority    uint64
	farthest    span
	left, right *interval
}

func newIntervals() intervals { return intervals{seed: maphash.MakeSeed()} }

func (t *intervals) insert(s span, g *group) {
	n := &interval{span: s, group: g, priority: maphash.Comparable(t.seed, s)}
	t.root = t.root.insert(n)
}

func (t *intervals) remove(s span) { t.root = t.root.remove(s) }

// find calls f with the group of every range that holds the key.
func (t *intervals) find(key string, f func(*group)) { t.root.find(key, f) }

func (n *interval) find(key string, f func(*group)) {
	for n != nil && n.farthest.endsBehind(key) {
		n.left.find(key, f)
		if key < n.span.start {
			return
		}
		if n.span.endsBehind(key) {
			f(n.group)
		}
		n = n.right
	}
}

// update sets what a node knows of those below it.
func (n *interval) update() *interval {
	n.farthest = n.span
	for _, side := range []*interval{n.left, n.right} {
		if side != nil && side.farthest.compareEnd(n.farthest) > 0 {
			n.farthest = side.farthest
		}
	}
	return n
}

func (n *interval) insert(x *interval) *interval {
	switch {
	case n == nil:
		return x.update()
	case x.priority > n.priority:
		x.left, x.right = n.split(x.span)
		return x.update()
	case x.span.compare(n.span) < 0:
		n.left = n.left.insert(x)
	default:
		n.right = n.right.insert(x)
	}
	return n.update()
}

func (n *interval) split(at span) (below, above *interval) {
	if n == nil {
		return nil, nil
	}
	if n.span.compare(at) < 0 {
		n.right, above = n.right.split(at)
		return n.update(), above
	}
	below, n.left = n.left.split(at)
	return below, n.update()
}

func (n *interval) remove(s span) *interval {
	if n == nil {
		return nil
	}
	switch c := s.compare(n.span); {
	case c == 0:
		return join(n.left, n.right)
	case c < 0:
		n.left = n.left.remove(s)
	default:
		n.right = n.right.remove(s)
	}
	return n.update()
}

func join(a, b *interval) *interval {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		a.right = join(a.right, b)
		return a.update()
	}
	b.left = join(a, b.left)
	return b.update()
}
