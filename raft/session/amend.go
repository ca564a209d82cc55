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
	before, there := s.results.get(h.Sequence)
	if !there {
		return
	}
	t.digest += digestResult(s.ID, h.Sequence, result) - digestResult(s.ID, h.Sequence, before)
	t.keep(s, h.Sequence, result)
}
