package kv

import "time"

// Retention says how much history is to be kept. It is a decider: who leads tells it the time and the revision now and then, and proposes
// to compact to what Target returns. Zero fields keep everything.
type Retention struct {
	// Revisions keeps that many of the latest revisions.
	Revisions uint64
	// Age keeps what was written within it; ignored if Revisions is set. It is measured from when Note was told.
	Age time.Duration

	samples []revisionAt
}

type revisionAt struct {
	at       time.Duration
	revision uint64
}

const (
	// retentionSlack is the part of the retention, as one in so many, by which history may be longer, so that few compactions
	// give up much.
	retentionSlack = 10
	// ageSamples is how many revisions are remembered within Age.
	ageSamples = 10
)

// Note is told the store's revision at a time since any fixed moment.
func (r *Retention) Note(now time.Duration, revision uint64) {
	if r.Age <= 0 || r.Revisions > 0 {
		return
	}
	if n := len(r.samples); n > 0 && now-r.samples[n-1].at < r.Age/ageSamples {
		return
	}
	r.samples = append(r.samples, revisionAt{now, revision})
	// The newest that is old enough is the first that is needed.
	for len(r.samples) > 1 && now-r.samples[1].at >= r.Age {
		r.samples = r.samples[1:]
	}
}

// Target returns the revision to compact to, zero for none.
func (r *Retention) Target(now time.Duration, revision, compacted uint64) uint64 {
	switch {
	case r.Revisions > 0:
		if revision <= compacted || revision-compacted <= r.Revisions+r.Revisions/retentionSlack {
			return 0
		}
		return revision - r.Revisions
	case r.Age > 0 && len(r.samples) > 0:
		oldest := r.samples[0]
		if now-oldest.at < r.Age || oldest.revision <= compacted || oldest.revision > revision {
			return 0
		}
		return oldest.revision
	}
	return 0
}
