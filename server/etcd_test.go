package server

import (
	"testing"
	"time"
)

func TestReadinessIsSaidOnceEverythingIsServed(t *testing.T) {
	start := time.Now()
	for _, x := range []struct {
		what  string
		looks []look
		said  int
	}{
		{"at once", []look{{0, false, false}, {1, true, true}, {2, true, true}}, 1},
		{"with its version", []look{{0, true, false}, {1, true, false}, {1, true, true}}, 2},
		{"in a cluster with older members", []look{{0, true, false}, {versionPatience - 1, true, false}, {versionPatience, true, false}, {versionPatience, true, true}}, 2},
		{"never", []look{{0, false, true}, {time.Hour, false, false}}, -1},
	} {
		var r readiness
		said := -1
		for i, l := range x.looks {
			if r.due(l.ready, l.everything, start.Add(l.at)) {
				if said >= 0 {
					t.Errorf("%s: said twice", x.what)
				}
				said = i
			}
		}
		if said != x.said {
			t.Errorf("%s: said at look %d, want %d", x.what, said, x.said)
		}
	}
}

type look struct {
	at                time.Duration
	ready, everything bool
}
