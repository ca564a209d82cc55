package sim

import (
	"testing"
	"time"
)

// TestShellMutants puts bugs into the shell around the core, one at a time. A simulation that does not find them
// would find nothing.
func TestShellMutants(t *testing.T) {
	const mostSeeds = 300
	for _, c := range []struct {
		name   string
		mutant mutant
	}{
		{"ack before sync", ackBeforeSync},
		{"term and vote are not stored", forgetHardState},
		{"clients are answered before commit", answerBeforeCommit},
		{"a repeat is applied again", applyTwice},
		{"reads ask nobody", readWithoutAsking},
		{"a wiped member keeps its ID", wipedKeepsID},
		{"a snapshot forgets the membership", forgetMembership},
		{"the state is durably ahead of the log", stateBeforeLog},
		{"the log is cut past what the state holds durably", cutPastState},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= mostSeeds; seed++ {
				if v := Run(Options{Seed: seed, Duration: time.Minute, mutant: c.mutant}).Violation; v != nil {
					t.Logf("caught by seed %d: %v", seed, v)
					return
				}
			}
			t.Errorf("not caught within %d seeds", mostSeeds)
		})
	}
}
