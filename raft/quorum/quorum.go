package quorum

import "slices"

// Size returns how many of n voters make a quorum. Of no voters nothing makes one: it returns 1.
func Size(n int) int { return n/2 + 1 }

// Committed returns the highest index that a quorum of the voters has reached, given how far each of them is.
// Without voters it is 0. It reorders match.
func Committed(match []uint64) uint64 {
	if len(match) == 0 {
		return 0
	}
	slices.Sort(match)
	return match[len(match)-Size(len(match))]
}

// Outcome is how a vote stands.
type Outcome uint8

const (
	// Pending: both outcomes are possible.
	Pending Outcome = iota
	// Won: a quorum agreed.
	Won
	// Lost: so many refused that no quorum can agree any more.
	Lost
)

// Vote tells how a vote among n voters stands.
func Vote(n, granted, refused int) Outcome {
	switch size := Size(n); {
	case granted >= size:
		return Won
	case n-refused < size:
		return Lost
	}
	return Pending
}

// Both combines the outcomes of two sets of voters that must both agree.
func Both(a, b Outcome) Outcome {
	switch {
	case a == Lost || b == Lost:
		return Lost
	case a == Won && b == Won:
		return Won
	}
	return Pending
}
