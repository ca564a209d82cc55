package store

import "bytes"

// node is a node of a treap whose nodes are never changed: a search tree by key, and a heap by a priority that is
// drawn from the key itself, so that the same keys always make the same tree.
type node struct {
	key, value  []byte
	priority    uint64
	left, right *node
	// bytes are those of the keys and values of the subtree.
	bytes int64
}

func priority(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>29
}

func (n *node) with(left, right *node) *node {
	c := &node{key: n.key, value: n.value, priority: n.priority, left: left, right: right}
	c.bytes = int64(len(c.key) + len(c.value))
	for _, side := range []*node{left, right} {
		if side != nil {
			c.bytes += side.bytes
		}
	}
	return c
}

// put returns the tree with the key set.
func (n *node) put(x *node) *node {
	if n == nil {
		return x.with(nil, nil)
	}
	c := bytes.Compare(x.key, n.key)
	switch {
	case c == 0:
		return x.with(n.left, n.right)
	case x.priority > n.priority:
		left, right := n.split(x.key)
		return x.with(left, right)
	case c < 0:
		return n.with(n.left.put(x), n.right)
	}
	return n.with(n.left, n.right.put(x))
}

// split returns the trees of the keys below and above key. The key itself is in neither.
func (n *node) split(key []byte) (below, above *node) {
	if n == nil {
		return nil, nil
	}
	switch c := bytes.Compare(key, n.key); {
	case c == 0:
		return n.left, n.right
	case c < 0:
		below, above = n.left.split(key)
		return below, n.with(above, n.right)
	}
	below, above = n.right.split(key)
	return n.with(n.left, below), above
}

// join returns the tree of both, all keys of a being below those of b.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		return a.with(a.left, join(a.right, b))
	}
	return b.with(join(a, b.left), b.right)
}

// remove returns the tree without the key.
func (n *node) remove(key []byte) *node {
	if n == nil {
		return nil
	}
	switch c := bytes.Compare(key, n.key); {
	case c == 0:
		return join(n.left, n.right)
	case c < 0:
		return n.with(n.left.remove(key), n.right)
	}
	return n.with(n.left, n.right.remove(key))
}

func (n *node) first() *node {
	if n == nil {
		return nil
	}
	for n.left != nil {
		n = n.left
	}
	return n
}

func (n *node) last() *node {
	if n == nil {
		return nil
	}
	for n.right != nil {
		n = n.right
	}
	return n
}

// seek returns the first node at or behind key.
func (n *node) seek(key []byte) *node {
	var found *node
	for n != nil {
		if bytes.Compare(n.key, key) >= 0 {
			found, n = n, n.left
		} else {
			n = n.right
		}
	}
	return found
}

// after returns the first node behind key.
func (n *node) after(key []byte) *node {
	var found *node
	for n != nil {
		if bytes.Compare(n.key, key) > 0 {
			found, n = n, n.left
		} else {
			n = n.right
		}
	}
	return found
}

// before returns the last node before key.
func (n *node) before(key []byte) *node {
	var found *node
	for n != nil {
		if bytes.Compare(n.key, key) < 0 {
			found, n = n, n.right
		} else {
			n = n.left
		}
	}
	return found
}

// with returns the roots with the batch carried out.
func (r roots) with(b *Batch) roots {
	for i := range b.ops {
		o := &b.ops[i]
		if o.value == nil {
			r[o.bucket] = r[o.bucket].remove(o.key)
			continue
		}
		r[o.bucket] = r[o.bucket].put(&node{key: o.key, value: o.value, priority: priority(o.key)})
	}
	return r
}
