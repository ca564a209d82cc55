package session

// Amend replaces the result that Finish has kept, if the table still has it: for a caller that applies a batch of commands after it
// has looked at the headers of all. What a table keeps and evicts does not depend on what results hold, so it is the same as if each
// result had been known to Finish.
func (t *Table) Amend(h Header, result []byte) {
	if len(result) > MaxResultBytes {
		panic("session: a result past MaxResultBytes")
	}
	s, ok := t.sessions[h.Session]
	if !ok {
		return
	}
	if h.Sequence < s.Low || h.Sequence > s.results.top {
		return
	}
	k := s.results.get(h.Sequence)
	if k == nil {
		return
	}
	t.digest += digestResult(s.ID, h.Sequence, result) - digestResult(s.ID, h.Sequence, k.result)
	k.result, k.dirty = result, true
	t.mark(s)
}

// Records returns all that the table holds, sorted by key, whatever Changes has returned: a whole image that Load reads.
func (t *Table) Records() []Record {
	places := make([]place, 0, len(t.sessions)+t.results)
	for id, s := range t.sessions {
		places = append(places, place{id, 0})
		for sequence := range s.results.from(s.Low) {
			places = append(places, place{id, sequence})
		}
	}
	return t.records(places)
}
