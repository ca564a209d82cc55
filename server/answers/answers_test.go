package answers

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswersTogetherAreBounded(t *testing.T) {
	const most = 100 * SmallBytes
	b := New(most, time.Hour)
	var held []func()
	hold := func(size int, want bool) {
		t.Helper()
		release, ok := b.Hold(size, nil)
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
	hold(SmallBytes, false)
	hold(SmallBytes-1, true)
	for range 2 { // the second time does nothing
		held[0]()
	}
	hold(most/4, true)
	hold(SmallBytes, false)
	for _, release := range held[1:] {
		release()
	}
	hold(most+1, true) // larger than all may be, and alone
	hold(SmallBytes, false)
}

// TestWhoTakesNothingGivesWay once it has had its time, the oldest first, and only where there is no room without that.
func TestWhoTakesNothingGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = time.Minute
		b := New(4*SmallBytes, patience)
		ended := ""
		hold := func(name string, size int) bool {
			var release func()
			release, ok := b.Hold(size, func() {
				ended += name
				release()
			})
			return ok
		}
		kept, _ := b.Hold(SmallBytes, nil)
		hold("a", SmallBytes)
		time.Sleep(patience / 2)
		hold("b", SmallBytes)
		if hold("c", 2*SmallBytes) || ended != "" {
			t.Fatalf("%q was ended before its time", ended)
		}
		time.Sleep(patience / 2)
		if !hold("c", 2*SmallBytes) || ended != "a" {
			t.Fatalf("%q was ended, and only a has had its time", ended)
		}
		time.Sleep(patience)
		if !hold("d", 3*SmallBytes) || ended != "abc" {
			t.Fatalf("%q was ended", ended)
		}
		time.Sleep(patience)
		if hold("e", 4*SmallBytes) || ended != "abcd" {
			t.Fatalf("%q was ended beside one that cannot be", ended)
		}
		kept()
		if !hold("e", 4*SmallBytes) {
			t.Fatal("what was ended still counts")
		}
	})
}
