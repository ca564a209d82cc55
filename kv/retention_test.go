package kv

import (
	"testing"
	"time"
)

func TestRetentionByRevisions(t *testing.T) {
	r := Retention{Revisions: 1000}
	for _, x := range []struct{ revision, compacted, want uint64 }{
		{1, 0, 0}, {1100, 0, 0}, {1101, 0, 101}, {5000, 4000, 0}, {5101, 4000, 4101}, {10, 20, 0},
	} {
		if got := r.Target(time.Hour, x.revision, x.compacted); got != x.want {
			t.Errorf("at %d, compacted %d: %d, want %d", x.revision, x.compacted, got, x.want)
		}
	}
	if got := (&Retention{}).Target(time.Hour, 1<<40, 1); got != 0 {
		t.Error(got)
	}
}

// TestRetentionByAge: what is given up is at least Age old, and not much older, with few samples kept.
func TestRetentionByAge(t *testing.T) {
	r := Retention{Age: time.Hour}
	var compacted uint64
	// One revision a second, so that a revision is also a time.
	for now := time.Duration(0); now < 5*time.Hour; now += 5 * time.Second {
		revision := uint64(now/time.Second) + 1
		r.Note(now, revision)
		if to := r.Target(now, revision, compacted); to > 0 {
			compacted = to
		}
		kept := time.Duration(revision-compacted) * time.Second
		if compacted > 0 && kept < time.Hour || now > 2*time.Hour && kept > 70*time.Minute {
			t.Fatalf("at %v history of %v is kept", now, kept)
		}
		if len(r.samples) > ageSamples+2 {
			t.Fatalf("%d samples", len(r.samples))
		}
	}
}
