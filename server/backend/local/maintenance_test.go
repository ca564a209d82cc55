package local

import (
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

// TestTheAlarmOfAMemberThatIsGoneIsLowered, by the leader: it would keep the others from writing for good.
func TestTheAlarmOfAMemberThatIsGoneIsLowered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := start(t, Options{}, 2)
		members := raft.NewMembership(raft.Member{ID: 7, Incarnation: 9}, raft.Member{ID: 6, Incarnation: 8})
		members.Index = n.index + 1
		data, err := members.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.entry(raft.EntryMembership, data); err != nil {
			t.Fatal(err)
		}
		// Member 8 was removed: what it has proposed comes behind that.
		gone, there, other := kv.Alarm{Member: 8, Type: kv.AlarmNoSpace}, kv.Alarm{Member: 6, Type: kv.AlarmNoSpace}, kv.Alarm{Type: kv.AlarmCorrupt}
		for _, a := range []kv.Alarm{gone, there, other} {
			if _, err := n.Propose(t.Context(), kv.RaiseAlarm(a)); err != nil {
				t.Fatal(err)
			}
		}
		up := func(want ...kv.Alarm) {
			t.Helper()
			time.Sleep(2 * measurePause)
			synctest.Wait()
			if got := n.machine.Alarms(); !reflect.DeepEqual(got, want) {
				t.Errorf("alarms %v, want %v", got, want)
			}
		}
		n.follow(6)
		up(other, there, gone)
		n.stand(true)
		up(other, there)
		if _, err := n.Propose(t.Context(), kv.LowerAlarm(there)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), backend.PutRequest{Key: []byte("k")}); err != nil {
			t.Error(err)
		}
	})
}

// TestAClosedStoreIsNotTakenForAnEmptyOne: that would lower an alarm that is due.
func TestAClosedStoreIsNotTakenForAnEmptyOne(t *testing.T) {
	m, err := kv.Open(kv.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{})
	s.machine = m
	s.measure()
	before := s.used.Load()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if s.measure(); before == 0 || s.used.Load() != before {
		t.Errorf("%d bytes are used, and %d once it is closed", before, s.used.Load())
	}
}

// TestAnAlarmIsOfAMember: whoever asks could raise any number of others, which nobody lowers.
func TestAnAlarmIsOfAMember(t *testing.T) {
	s, n := start(t, Options{}, 2)
	members := raft.NewMembership(raft.Member{ID: 7, Incarnation: 9}, raft.Member{ID: 6, Incarnation: 8})
	members.Index = n.index + 1
	data, err := members.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.entry(raft.EntryMembership, data); err != nil {
		t.Fatal(err)
	}
	raise := func(member raft.NodeID) error {
		_, err := s.Alarm(t.Context(), backend.AlarmRequest{Action: backend.AlarmRaise, Member: member, Type: kv.AlarmCorrupt})
		return err
	}
	for _, member := range []raft.NodeID{0, 6, 7} { // zero is the member that is asked
		if err := raise(member); err != nil {
			t.Errorf("of %s: %v", member, err)
		}
	}
	if err := raise(8); !errors.Is(err, kv.ErrMalformed) {
		t.Errorf("of nobody: %v", err)
	}
	if up := n.machine.Alarms(); len(up) != 2 {
		t.Errorf("%v", up)
	}
}
