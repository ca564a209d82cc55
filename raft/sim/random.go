package sim

import "time"

// random is a SplitMix64 generator. Each part of the world has one of its own, so that turning one kind of fault
// off leaves the others as they were.
type random struct{ state uint64 }

const golden = 0x9e3779b97f4a7c15

func (r *random) next() uint64 {
	r.state += golden
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// child returns an independent generator for a part of the world.
func (r random) child(label uint64) *random {
	c := random{r.state ^ (label+1)*0xd6e8feb86659fd93}
	c.next()
	return &random{c.next()}
}

// n returns a number in [0, n).
func (r *random) n(n int) int { return int(r.next() >> 1 % uint64(n)) }

// span returns a number in [lo, hi].
func (r *random) span(lo, hi int) int { return lo + r.n(hi-lo+1) }

// chance is true with probability p.
func (r *random) chance(p float64) bool { return float64(r.next()>>11)/(1<<53) < p }

// between returns a duration in [lo, hi).
func (r *random) between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(r.next()>>1%uint64(hi-lo))
}

// around returns a duration between half and one and a half of mean.
func (r *random) around(mean time.Duration) time.Duration { return r.between(mean/2, mean*3/2) }
