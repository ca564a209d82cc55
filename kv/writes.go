package kv

// writes is what a transaction could write, whichever way its compares go.
type writes struct {
	puts    map[string]struct{}
	deletes []KeyRange
}

// checkWrites returns ErrDuplicateKey if one run of the transaction could write a key twice, which one revision
// cannot hold, and ErrEmptyKey for a put without a key. A key may be deleted by two ranges: the second finds nothing.
func (t *Txn) checkWrites() error {
	if len(t.Success) == 1 && len(t.Failure) <= 1 && t.Success[0].Kind == OpPut && (len(t.Failure) == 0 || t.Failure[0].Kind == OpRange) {
		// A single put or compare-and-swap is nearly all that comes.
		if len(t.Success[0].Keys.Start) == 0 {
			return ErrEmptyKey
		}
		return nil
	}
	_, err := t.writes()
	return err
}

// writes joins both branches: only one of them runs, so they may write the same keys.
func (t *Txn) writes() (writes, error) {
	var all writes
	for _, ops := range [][]Op{t.Success, t.Failure} {
		w, err := branchWrites(ops)
		if err != nil {
			return writes{}, err
		}
		all.add(w)
	}
	return all, nil
}

func branchWrites(ops []Op) (writes, error) {
	var all writes
	for i := range ops {
		var w writes
		switch op := &ops[i]; op.Kind {
		case OpPut:
			if len(op.Keys.Start) == 0 {
				return writes{}, ErrEmptyKey
			}
			w.puts = map[string]struct{}{string(op.Keys.Start): {}}
		case OpDelete:
			w.deletes = []KeyRange{op.Keys}
		case OpTxn:
			var err error
			if w, err = op.Txn.writes(); err != nil {
				return writes{}, err
			}
		case OpRange:
			continue
		}
		if len(ops) == 1 {
			return w, nil
		}
		if all.overlaps(w) {
			return writes{}, ErrDuplicateKey
		}
		all.add(w)
	}
	return all, nil
}

func (w *writes) add(o writes) {
	if w.puts == nil {
		w.puts = o.puts
	} else {
		for k := range o.puts {
			w.puts[k] = struct{}{}
		}
	}
	w.deletes = append(w.deletes, o.deletes...)
}

func (w *writes) overlaps(o writes) bool {
	for k := range o.puts {
		if _, ok := w.puts[k]; ok {
			return true
		}
	}
	return deletesAny(w.deletes, o.puts) || deletesAny(o.deletes, w.puts)
}

func deletesAny(ranges []KeyRange, puts map[string]struct{}) bool {
	for _, r := range ranges {
		if r.single() {
			if _, ok := puts[string(r.Start)]; ok {
				return true
			}
			continue
		}
		for k := range puts {
			if r.Contains([]byte(k)) {
				return true
			}
		}
	}
	return false
}

// checkRevision says whether a read at the revision is possible; zero means the latest.
func checkRevision(at, revision, compacted uint64) error {
	switch {
	case at > revision:
		return ErrFutureRevision
	case at != 0 && at < compacted:
		return ErrCompacted
	}
	return nil
}
