package quorum

import (
	"math/bits"
	"testing"
)

// TestCommittedAgainstBruteForce tries all positions of up to 7 voters over a few indexes.
func TestCommittedAgainstBruteForce(t *testing.T) {
	for n := 1; n <= 7; n++ {
		match := make([]uint64, n)
		const highest = 3
		total := 1
		for range n {
			total *= highest + 1
		}
		for code := range total {
			for i, c := 0, code; i < n; i, c = i+1, c/(highest+1) {
				match[i] = uint64(c % (highest + 1))
			}
			want := uint64(0)
			for index := uint64(1); index <= highest; index++ {
				have := 0
				for _, m := range match {
					if m >= index {
						have++
					}
				}
				if have*2 > n {
					want = index
				}
			}
			before := append([]uint64(nil), match...)
			if got := Committed(match); got != want {
				t.Fatalf("%v: committed %d, want %d", before, got, want)
			}
		}
	}
}

// TestAnyTwoQuorumsOverlap is what the whole protocol rests on, also between neighbours of a single-step change.
func TestAnyTwoQuorumsOverlap(t *testing.T) {
	for n := 1; n <= 7; n++ {
		for _, m := range []int{n - 1, n, n + 1} {
			if m < 1 {
				continue
			}
			all := max(n, m)
			for a := range 1 << all {
				for b := range 1 << all {
					inN := bits.OnesCount(uint(a) & (1<<n - 1))
					inM := bits.OnesCount(uint(b) & (1<<m - 1))
					if inN >= Size(n) && inM >= Size(m) && a&b&(1<<n-1)&(1<<m-1) == 0 {
						t.Fatalf("quorum %b of %d and quorum %b of %d share no voter", a, n, b, m)
					}
				}
			}
		}
	}
}

func TestVoteAgainstBruteForce(t *testing.T) {
	for n := 1; n <= 7; n++ {
		for granted := 0; granted <= n; granted++ {
			for refused := 0; granted+refused <= n; refused++ {
				rest := n - granted - refused
				want := Pending
				if granted*2 > n {
					want = Won
				} else if (granted+rest)*2 <= n {
					want = Lost
				}
				if got := Vote(n, granted, refused); got != want {
					t.Errorf("%d of %d granted, %d refused: %d, want %d", granted, n, refused, got, want)
				}
			}
		}
	}
}

func TestBothNeedsBoth(t *testing.T) {
	for _, c := range []struct{ a, b, want Outcome }{
		{Won, Won, Won}, {Won, Pending, Pending}, {Pending, Pending, Pending},
		{Won, Lost, Lost}, {Lost, Pending, Lost}, {Lost, Lost, Lost},
	} {
		if Both(c.a, c.b) != c.want || Both(c.b, c.a) != c.want {
			t.Errorf("%d and %d do not give %d", c.a, c.b, c.want)
		}
	}
}

func TestNothingIsCommittedWithoutVoters(t *testing.T) {
	if Committed(nil) != 0 || Vote(0, 0, 0) == Won {
		t.Fatal("an empty set of voters decided something")
	}
}
