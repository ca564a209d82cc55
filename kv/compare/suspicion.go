package compare

// Confirmations is how many findings in a row must say the same before anyone acts on them.
const Confirmations = 3

// Suspicion is how often the latest finding was found in a row. The zero value has found nothing.
type Suspicion struct {
	last  Finding
	times int
}

// Note takes the next finding, which must rest on fresh answers, and tells whether it is confirmed: that members differ, the same one if one
// is blamed, for the Confirmations-th time. A finding that nothing could be compared neither confirms nor clears a suspicion.
func (s *Suspicion) Note(f Finding) (confirmed bool) {
	switch {
	case f.Verdict == NotComparable:
		return false
	case f.Verdict == Agree:
		*s = Suspicion{}
		return false
	case f.Verdict != s.last.Verdict || f.Member != s.last.Member:
		s.times = 0
	}
	s.last = f
	s.times++
	return s.times >= Confirmations
}

// Pending tells whether there is a suspicion that is neither confirmed nor cleared.
func (s *Suspicion) Pending() bool { return s.times > 0 && s.times < Confirmations }
