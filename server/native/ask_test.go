package native

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/kv/watch"
)

type asked struct {
	watch.Stream
	times atomic.Int64
}

func (a *asked) RequestProgress() { a.times.Add(1) }

// A stream is asked how far it is as long as its connection lives.
func TestAStreamIsAskedHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, over := new(asked), make(chan struct{})
		go ask(s, over)
		time.Sleep(10*reachPause + reachPause/2)
		if n := s.times.Load(); n != 10 {
			t.Errorf("it was asked %d times", n)
		}
		close(over)
		time.Sleep(10 * reachPause)
		if n := s.times.Load(); n != 10 {
			t.Errorf("it is asked on: %d times", n)
		}
	})
}
