package answers

import "testing"

func TestAnswersTogetherAreBounded(t *testing.T) {
	const most = 100 * smallBytes
	b := New(most)
	var held []func()
	hold := func(size int, want bool) {
		t.Helper()
		release, ok := b.Hold(size)
		if ok != want {
			t.Fatalf("%d bytes beside %d answers: %v", size, len(held), ok)
		}
		if ok {
			held = append(held, release)
		}
	}
	for range 4 {
		hold(most/4, true)
	}
	hold(smallBytes, false)
	hold(smallBytes-1, true)
	held[0]()
	hold(most/4, true)
	hold(smallBytes, false)
	for _, release := range held[1:] {
		release()
	}
	hold(most+1, true) // larger than all may be, and alone
	hold(smallBytes, false)
}
