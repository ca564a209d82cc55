package kv

import (
	"bytes"
	"cmp"
	"slices"
)

// collector gathers the result of a range from one or more views.
type collector struct {
	request   RangeRequest
	mostBytes int
	// sorting says that all keys must be seen before the first is known, and bare that they are gathered without their values,
	// which finish reads for those that remain.
	sorting, bare bool
	result        RangeResult
	bytes         int
	// overflow says that keys are missing that the sorting should have seen.
	overflow bool
	// resume is the key to go on from in a new view, nil when the range is complete.
	resume []byte
}

func newCollector(r RangeRequest, mostBytes int) collector {
	c := collector{request: r, mostBytes: mostBytes}
	c.sorting = !r.CountOnly && (r.Sort == SortDescending || r.Sort == SortAscending && r.Target != SortByKey)
	c.bare = r.KeysOnly || c.sorting
	if c.sorting && r.Target == SortByValue {
		c.bare = false
	}
	return c
}

// collect reads on from a key. It stops after most keys to go on in another view; zero means that it does not.
func (c *collector) collect(v *view, from []byte, most int) error {
	c.resume = nil
	scan, err := v.scan(c.request.Keys, from)
	if err != nil {
		return err
	}
	for n := 0; scan.valid(); n++ {
		if n == most && most > 0 {
			c.resume = bytes.Clone(scan.key())
			return nil
		}
		done, err := c.take(scan)
		if err != nil || done {
			return err
		}
		if err := scan.next(); err != nil {
			return err
		}
	}
	return nil
}

// take adds the key that the scan is at, and tells whether the rest does not matter.
func (c *collector) take(scan *merged) (done bool, err error) {
	counting := c.request.CountOnly || c.request.WithCount
	if counting {
		c.result.Count++
	}
	if !c.request.CountOnly && !c.result.More && c.request.admits(scan.version()) {
		items := len(c.result.Items)
		full := !c.sorting && c.request.Limit > 0 && items == c.request.Limit || items > 0 && c.bytes >= c.mostBytes
		if full {
			c.result.More, c.overflow = true, c.sorting
		} else {
			kv, err := scan.load(!c.bare)
			if err != nil {
				return false, err
			}
			c.bytes += len(kv.Key) + len(kv.Value)
			c.result.Items = append(c.result.Items, kv)
		}
	}
	return c.result.More && !counting, nil
}

// admits tells whether the filters let a version pass.
func (r *RangeRequest) admits(v *version) bool {
	return v.mod >= r.MinModRevision && (r.MaxModRevision == 0 || v.mod <= r.MaxModRevision) &&
		v.create >= r.MinCreateRevision && (r.MaxCreateRevision == 0 || v.create <= r.MaxCreateRevision)
}

// finish sorts what was gathered, cuts it to the limit and reads the values that are missing.
func (c *collector) finish(v *view) error {
	if !c.sorting {
		return nil
	}
	c.request.sort(c.result.Items)
	if limit := c.request.Limit; limit > 0 && len(c.result.Items) > limit {
		c.result.Items, c.result.More = slices.Clone(c.result.Items[:limit]), true
	}
	if c.request.KeysOnly {
		for i := range c.result.Items {
			c.result.Items[i].Value = nil
		}
		return nil
	}
	if !c.bare {
		return nil
	}
	for i := range c.result.Items {
		if i > 0 && c.bytes >= c.mostBytes {
			c.result.Items, c.result.More = c.result.Items[:i], true
			break
		}
		item := &c.result.Items[i]
		at, err := v.get(item.Key, true)
		if err != nil {
			return err
		}
		item.Value = at.value
		if v.stored != nil {
			item.Value = bytes.Clone(at.value) // it may belong to the view
		}
		c.bytes += len(item.Value)
	}
	return nil
}

func (r *RangeRequest) sort(items []KeyValue) {
	sign := 1
	if r.Sort == SortDescending {
		sign = -1
	}
	// Stable: equal ones remain in the order of their keys.
	slices.SortStableFunc(items, func(a, b KeyValue) int {
		switch r.Target {
		case SortByVersion:
			return sign * cmp.Compare(a.Version, b.Version)
		case SortByCreate:
			return sign * cmp.Compare(a.CreateRevision, b.CreateRevision)
		case SortByMod:
			return sign * cmp.Compare(a.ModRevision, b.ModRevision)
		case SortByValue:
			return sign * bytes.Compare(a.Value, b.Value)
		}
		return sign * bytes.Compare(a.Key, b.Key)
	})
}
