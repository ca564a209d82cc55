package disk

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Fate is what a power cut does to what was not synced.
type Fate uint8

// The fates, from one that takes everything to one that is as bad as the rules allow.
const (
	// Lost: nothing that was not synced is there.
	Lost Fate = iota
	// Kept: all of it is there.
	Kept
	// NamesOnly: all names are there, no data.
	NamesOnly
	// DataOnly: all data, no names.
	DataOnly
	// Torn: all is there but some sectors of the last write.
	Torn
	// Shuffled: each sector, each length and each name is found as it was at any time since the last sync.
	Shuffled
	// Fates is their number.
	Fates
)

func (f Fate) String() string {
	return [...]string{"lost", "kept", "names only", "data only", "torn", "shuffled"}[f]
}

// Replay walks along the log of a disk.
type Replay struct {
	log   []op
	files map[Inode]*file
	dirs  map[Inode]map[string]Inode // what is durable
	names []pendingName
	// last is the inode whose content was changed last.
	last Inode
	at   int
}

type file struct {
	durable content
	pending []pendingChange
}

type pendingChange struct {
	number int
	change
}

type pendingName struct {
	number int
	// fromSynced and toSynced tell which of the two directories was synced since.
	fromSynced, toSynced bool
	nameChange
}

// Replay begins at the empty disk, with the log as it is now.
func (d *Disk) Replay() *Replay {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Replay{
		log: d.log[:len(d.log):len(d.log)], files: map[Inode]*file{}, dirs: map[Inode]map[string]Inode{Root: {}},
	}
}

// Operations returns how many operations the log has.
func (r *Replay) Operations() int { return len(r.log) }

// Pending tells whether something is not synced at this point.
func (r *Replay) Pending() bool {
	if len(r.names) > 0 {
		return true
	}
	for _, f := range r.files {
		if len(f.pending) > 0 {
			return true
		}
	}
	return false
}

// Advance goes on to the point at which n operations were done. It never goes back.
func (r *Replay) Advance(n int) {
	for ; r.at < n; r.at++ {
		o := &r.log[r.at]
		switch o.kind {
		case opData:
			f := r.files[o.inode]
			f.pending = append(f.pending, pendingChange{r.at, o.change})
			r.last = o.inode
		case opName:
			if c := o.name; c.made && c.directory {
				r.dirs[c.inode] = map[string]Inode{}
			} else if c.made {
				r.files[c.inode] = &file{}
			}
			r.names = append(r.names, pendingName{number: r.at, fromSynced: o.name.from.dir == 0, toSynced: o.name.to.dir == 0, nameChange: o.name})
		case opSync:
			r.sync(o.inode, o.before)
		}
	}
}

func (r *Replay) sync(i Inode, before int) {
	if f := r.files[i]; f != nil {
		n := 0
		for n < len(f.pending) && f.pending[n].number < before {
			f.durable.apply(f.pending[n].change)
			n++
		}
		f.pending = slices.Delete(f.pending, 0, n)
		return
	}
	left := r.names[:0]
	for _, c := range r.names {
		if c.number < before {
			c.fromSynced = c.fromSynced || c.from.dir == i
			c.toSynced = c.toSynced || c.to.dir == i
		}
		if c.fromSynced && c.toSynced {
			settle(r.dirs, c.nameChange)
		} else {
			left = append(left, c)
		}
	}
	clear(r.names[len(left):])
	r.names = left
}

// settle makes a change of names, as far as it still means anything where others were lost.
func settle(dirs map[Inode]map[string]Inode, c nameChange) {
	if old := dirs[c.from.dir]; old != nil && old[c.from.name] == c.inode {
		delete(old, c.from.name)
	}
	if to := dirs[c.to.dir]; to != nil {
		to[c.to.name] = c.inode
	}
}

// Image is what a disk holds when the power comes back.
type Image struct {
	dirs  map[Inode]map[string]Inode
	files map[Inode]content
}

// Image draws what is found after a power cut at this point. Images share memory with the replay: what comes of one is
// to be written away before Advance is called again.
func (r *Replay) Image(fate Fate, random *rand.Rand) Image {
	image := Image{dirs: map[Inode]map[string]Inode{}, files: map[Inode]content{}}
	for i, entries := range r.dirs {
		image.dirs[i] = maps.Clone(entries)
	}
	for _, c := range r.names {
		if fate == Kept || fate == NamesOnly || fate == Torn || fate == Shuffled && random.IntN(2) == 0 {
			settle(image.dirs, c.nameChange)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(r.files)) {
		image.files[i] = r.files[i].after(fate, i == r.last, random)
	}
	return image
}

func (f *file) after(fate Fate, last bool, random *rand.Rand) content {
	if len(f.pending) == 0 || fate == Lost || fate == NamesOnly {
		return f.durable
	}
	c := content{slices.Clone(f.durable.data), f.durable.size}
	if fate == Shuffled {
		f.shuffle(&c, random)
		return c
	}
	for n, p := range f.pending {
		if fate == Torn && last && n == len(f.pending)-1 {
			tear(&c, p.change, random)
			break
		}
		c.apply(p.change)
	}
	return c
}

// tear does a part of the sectors of a change.
func tear(c *content, x change, random *rand.Rand) {
	for at := x.off / SectorBytes * SectorBytes; at < x.end(); at += SectorBytes {
		if random.IntN(2) == 0 {
			c.write(x, at, at+SectorBytes)
		}
	}
	c.resize(x.size)
}

// shuffle takes each sector to the state after one of the changes that touched it, and the length likewise.
func (f *file) shuffle(c *content, random *rand.Rand) {
	sectors := map[int64]bool{}
	for _, p := range f.pending {
		for s := p.off / SectorBytes; s*SectorBytes < p.end(); s++ {
			sectors[s] = true
		}
	}
	// A length that was in between may have cut off what is beyond it.
	size := f.durable.size
	if kept := random.IntN(len(f.pending) + 1); kept > 0 {
		size = f.pending[kept-1].size
	}
	for _, s := range slices.Sorted(maps.Keys(sectors)) {
		from, to := s*SectorBytes, (s+1)*SectorBytes
		for _, p := range f.pending[:random.IntN(len(f.pending)+1)] {
			c.write(p.change, from, to)
		}
	}
	c.resize(size)
}
