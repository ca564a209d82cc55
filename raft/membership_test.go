package raft

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestChangesAgainstAModel makes random changes and compares with plain maps.
func TestChangesAgainstAModel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		m := members(1 + random.IntN(3))
		learner := map[NodeID]bool{}
		for _, x := range m.Members {
			learner[x.ID] = false
		}
		last, incarnation := m.LastID, Incarnation(1000)
		for range 200 {
			id := NodeID(1 + random.IntN(int(last)+1))
			isLearner, known := learner[id]
			voters := 0
			for _, l := range learner {
				if !l {
					voters++
				}
			}
			var c Change
			var refused bool
			var apply func()
			switch random.IntN(3) {
			case 0:
				incarnation++
				c = Change{Kind: ChangeAddLearner, Member: Member{Incarnation: incarnation}}
				refused = len(learner) >= MaxMembers
				apply = func() { last++; learner[last] = true }
			case 1:
				c = Change{Kind: ChangePromote, ID: id}
				refused = !known || (isLearner && voters >= MaxVoters)
				apply = func() { learner[id] = false }
			case 2:
				c = Change{Kind: ChangeRemove, ID: id}
				refused = (!known && id > last) || (known && !isLearner && voters == 1)
				apply = func() { delete(learner, id) }
			}
			next, _, err := m.Apply(c)
			if (err != nil) != refused || (err != nil && !errors.Is(err, ErrChangeRefused)) {
				t.Fatalf("%+v of %+v: %v, want refused %v", c, m, err, refused)
			}
			if err != nil {
				continue
			}
			before, after := m.Voters(), next.Voters()
			moved := 0
			for _, v := range append(slices.Clone(before), after...) {
				if slices.Contains(before, v) != slices.Contains(after, v) {
					moved++
				}
			}
			if moved > 1 {
				t.Fatalf("%+v moved %d votes", c, moved)
			}
			apply()
			m = next
			if err := m.Validate(); err != nil || m.LastID != last || len(m.Members) != len(learner) {
				t.Fatalf("%+v: %v, want %v up to %d", m, err, learner, last)
			}
			raw, err := m.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			var back Membership
			if err := back.UnmarshalBinary(raw); err != nil || !back.Equal(m) || back.Index != m.Index {
				t.Fatalf("%+v came back as %+v: %v", m, back, err)
			}
		}
	}
}

func TestAnIncarnationIsAddedOnce(t *testing.T) {
	m := members(2)
	add := Change{Kind: ChangeAddLearner, Member: Member{Incarnation: 500}}
	once, id, err := m.Apply(add)
	if err != nil {
		t.Fatal(err)
	}
	twice, again, err := once.Apply(add)
	if err != nil || again != id || !twice.Equal(once) {
		t.Fatalf("added as %s and as %s: %v", id, again, err)
	}
	gone, _, err := once.Apply(Change{Kind: ChangeRemove, ID: id})
	if err != nil || !gone.Removed(id) {
		t.Fatalf("%+v, %v", gone, err)
	}
	if _, next, _ := gone.Apply(Change{Kind: ChangeAddLearner, Member: Member{Incarnation: 501}}); next == id {
		t.Fatal("an ID was used twice")
	}
}
