package tracker

import (
	"math/rand/v2"
	"testing"
)

// TestInflightAgainstAList compares the ring with a plain list under random use.
func TestInflightAgainstAList(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		maxMessages, maxBytes := 1+random.IntN(40), 1+random.IntN(2000)
		f := NewInflight(maxMessages, maxBytes)
		var list []sent
		next := uint64(1)
		for range 500 {
			bytes := 0
			for _, s := range list {
				bytes += s.bytes
			}
			full := len(list) >= maxMessages || (len(list) > 0 && bytes >= maxBytes)
			if f.Full() != full || f.Len() != len(list) || f.Bytes() != bytes {
				t.Fatalf("full %v, %d messages, %d bytes; want %v, %d, %d", f.Full(), f.Len(), f.Bytes(), full, len(list), bytes)
			}
			switch {
			case random.IntN(100) == 0:
				f.Reset()
				list = nil
			case !full && random.IntN(3) > 0:
				s := sent{next, random.IntN(300)}
				next += 1 + uint64(random.IntN(5))
				f.Add(s.last, s.bytes)
				list = append(list, s)
			default:
				upTo := uint64(random.Int64N(int64(next + 1)))
				f.Free(upTo)
				for len(list) > 0 && list[0].last <= upTo {
					list = list[1:]
				}
			}
		}
	}
}

func TestAProbeWaitsForAnAnswer(t *testing.T) {
	p := New(11, 0, NewInflight(4, 100))
	p.Sent(11, 10)
	if p.Ready() {
		t.Fatal("a second probe may be sent before the first was answered")
	}
	if !p.Reject(10, 5) || p.Next != 6 || !p.Ready() {
		t.Fatalf("after the refusal with hint 5: next %d", p.Next)
	}
	if p.Reject(10, 2) {
		t.Fatal("a late refusal was believed")
	}
	if !p.Acknowledge(5) || p.State != Replicate || p.Next != 6 {
		t.Fatalf("after the acknowledgement: %s, next %d", p.State, p.Next)
	}
}

func TestAPipelineRunsAheadUpToItsWindow(t *testing.T) {
	p := New(1, 0, NewInflight(2, 1000))
	p.Acknowledge(0)
	p.Sent(3, 10)
	p.Sent(6, 10)
	if p.Ready() || p.Next != 7 {
		t.Fatalf("ready %v, next %d", p.Ready(), p.Next)
	}
	p.Acknowledge(3)
	if !p.Ready() || p.Match != 3 {
		t.Fatal("an acknowledgement freed nothing")
	}
	if p.Reject(2, 0) {
		t.Fatal("a refusal of what is acknowledged was believed")
	}
	if !p.Reject(6, 3) || p.State != Probe || p.Next != 4 {
		t.Fatalf("after a refusal: %s, next %d", p.State, p.Next)
	}
}

func TestLostMessagesAreNoticedAtTheSecondHeartbeat(t *testing.T) {
	p := New(1, 0, NewInflight(8, 1000))
	p.Acknowledge(0)
	p.HeartbeatAnswered()
	p.Sent(5, 10)
	p.Acknowledge(2)
	if p.HeartbeatAnswered() {
		t.Fatal("stuck although something was acknowledged since the last heartbeat")
	}
	if !p.HeartbeatAnswered() {
		t.Fatal("not stuck although nothing was acknowledged since the last heartbeat")
	}
}

func TestASnapshotStopsEntriesUntilItsFateIsKnown(t *testing.T) {
	p := New(1, 0, NewInflight(8, 1000))
	p.BecomeSnapshot()
	if p.Ready() {
		t.Fatal("entries may be sent during a snapshot")
	}
	p.SnapshotDone(40, 7, 2, 16)
	if p.State != Probe || p.Next != 41 || p.Ready() {
		t.Fatalf("after the snapshot: %s, next %d, ready %v", p.State, p.Next, p.Ready())
	}
	p.HeartbeatAnswered()
	if !p.Ready() {
		t.Fatal("the probe behind the snapshot never starts")
	}
}

func TestSnapshotsWaitLongerEachUntilTheFollowerMatches(t *testing.T) {
	p := New(1, 0, NewInflight(8, 1000))
	now := uint64(100)
	for i, wait := range []uint64{2, 4, 8, 10, 10} {
		if !p.SnapshotDue(now) {
			t.Fatalf("snapshot %d is not due", i)
		}
		p.BecomeSnapshot()
		p.SnapshotDone(uint64(i%2)*40, now, 2, 10)
		if p.SnapshotDue(now+wait-1) || !p.SnapshotDue(now+wait) {
			t.Fatalf("after snapshot %d the next should be due in %d ticks", i, wait)
		}
		now += wait
	}
	p.Acknowledge(41)
	if !p.SnapshotDue(now) {
		t.Fatal("a follower that was brought on waits as if it had not been")
	}
	p.SnapshotDone(0, now, 2, 10)
	if !p.SnapshotDue(now + 2) {
		t.Fatal("a follower that was brought on waits as long as before")
	}
}
