package disk

type opKind uint8

const (
	opData opKind = iota + 1
	opName
	opSync
)

// op is one operation in the log. Its content is never changed.
type op struct {
	kind   opKind
	inode  Inode      // of opData and opSync
	change change     // of opData
	name   nameChange // of opName
	before int        // opSync covers the operations with lower numbers
}

// place is a name in a directory; the zero place is nowhere.
type place struct {
	dir  Inode
	name string
}

// nameChange moves an inode from one place to another.
type nameChange struct {
	inode     Inode
	made      bool // it did not exist before
	directory bool
	from, to  place
}

// change writes data, or as many zeros, at an offset. size is the file's afterwards.
type change struct {
	off   int64
	data  []byte
	zeros int64
	size  int64
}

func (c *change) end() int64 { return c.off + max(int64(len(c.data)), c.zeros) }

// content is what is in a file: data and, from there to size, zeros.
type content struct {
	data []byte
	size int64
}

func (c *content) read(p []byte, off int64) int {
	n := int(min(int64(len(p)), max(0, c.size-off)))
	clear(p[:n])
	if off < int64(len(c.data)) {
		copy(p[:n], c.data[off:])
	}
	return n
}

func (c *content) apply(x change) {
	c.write(x, x.off, x.end())
	c.resize(x.size)
}

// write does the part of a change that lies in [from, to) and leaves the size alone.
func (c *content) write(x change, from, to int64) {
	from, to = max(from, x.off), min(to, x.end())
	if from >= to {
		return
	}
	if x.data == nil {
		if from < int64(len(c.data)) {
			clear(c.data[from:min(to, int64(len(c.data)))])
		}
		return
	}
	c.grow(to)
	copy(c.data[from:to], x.data[from-x.off:to-x.off])
}

func (c *content) resize(size int64) {
	if size < int64(len(c.data)) {
		clear(c.data[size:])
		c.data = c.data[:size]
	}
	c.size = size
}

func (c *content) grow(n int64) {
	if have := int64(len(c.data)); n > have {
		if n > int64(cap(c.data)) {
			grown := make([]byte, n, max(n, 2*int64(cap(c.data))))
			copy(grown, c.data)
			c.data = grown
			return
		}
		c.data = c.data[:n]
		clear(c.data[have:])
	}
}
