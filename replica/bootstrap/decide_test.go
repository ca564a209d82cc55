package bootstrap

import (
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

func members(names ...string) []StaticMember {
	var out []StaticMember
	for _, n := range names {
		out = append(out, StaticMember{Name: n, PeerAddress: n + ":2380"})
	}
	return out
}

func mustOutline(t *testing.T, token string, m []StaticMember) Table {
	t.Helper()
	o, err := outline(token, m)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestIDsDependOnTokenAndNameOnly(t *testing.T) {
	a, b := mustOutline(t, "t", members("a", "b", "c")), mustOutline(t, "t", members("c", "a", "b"))
	if !a.equal(b) {
		t.Errorf("the order of the flag matters: %+v, %+v", a, b)
	}
	seen := map[raft.NodeID]bool{}
	for _, token := range []string{"t", "u"} {
		for _, name := range []string{"a", "b", "ab", "tu"} {
			id := MemberID(token, name)
			if id == 0 || id >= 1<<idBits || seen[id] {
				t.Errorf("ID %v of %s, %s", id, token, name)
			}
			seen[id] = true
		}
	}
}

func TestClusterIDDependsOnIncarnations(t *testing.T) {
	a := mustOutline(t, "t", members("a"))
	b := a.clone()
	b.Members[0].Incarnation = 7
	if a.ClusterID() == b.ClusterID() || a.ClusterID() == 0 {
		t.Error("the same cluster ID for other incarnations")
	}
	entries, err := FirstEntries(b.Membership())
	if err != nil || len(entries) != 2 || entries[1].Index != FirstPosition.Index || entries[1].Term != FirstPosition.Term {
		t.Errorf("first entries %+v, %v", entries, err)
	}
	var m raft.Membership
	if err := m.UnmarshalBinary(entries[1].Data); err != nil || m.Index != entries[1].Index || m.LastID != b.Members[0].ID {
		t.Errorf("first membership %+v, %v", m, err)
	}
	if _, err := FirstEntries(a.Membership()); err == nil {
		t.Error("a membership without incarnations was accepted")
	}
}

// scene is three answers that agree, which each case spoils.
type scene struct {
	self    Answer
	answers map[string]Answer
	table   Table
}

func newScene(t *testing.T, stored bool) *scene {
	o := mustOutline(t, "t", members("a", "b", "c"))
	s := &scene{answers: map[string]Answer{}, table: o.clone()}
	for i := range s.table.Members {
		s.table.Members[i].Incarnation = raft.Incarnation(i + 1)
	}
	for i, m := range o.Members {
		a := Answer{Name: m.Name, Incarnation: raft.Incarnation(i + 1), Outline: o}
		if stored {
			table := s.table.clone()
			a.Stored = &table
		}
		if m.Name == "a" {
			s.self = a
		} else {
			s.answers[m.Name] = a
		}
	}
	return s
}

func (s *scene) change(name string, f func(*Answer)) {
	a := s.answers[name]
	f(&a)
	s.answers[name] = a
}

func TestDecide(t *testing.T) {
	for _, x := range []struct {
		name    string
		stored  bool
		spoil   func(*scene)
		want    action
		problem string
	}{
		{"all answered", false, func(*scene) {}, store, ""},
		{"one is silent", false, func(s *scene) { delete(s.answers, "c") }, wait, "c: no route"},
		{"other token", false, func(s *scene) { s.change("b", func(a *Answer) { a.Outline.Token = "x" }) }, wait, "another --initial-cluster-token"},
		{"other members", false, func(s *scene) { s.change("b", func(a *Answer) { a.Outline.Members = a.Outline.Members[:2] }) }, wait, "another --initial-cluster:"},
		{"other name", false, func(s *scene) { s.change("b", func(a *Answer) { a.Name = "c" }) }, wait, `its name is "c"`},
		{"a peer is ahead", false, func(s *scene) { s.change("b", func(a *Answer) { a.Stored = &s.table }) }, store, ""},
		{"a peer knows another incarnation of this node", false, func(s *scene) {
			s.table.Members[0].Incarnation = 99
			s.change("b", func(a *Answer) { a.Stored = &s.table })
		}, join, "newer than the cluster"},
		{"a peer was added to the cluster later", false, func(s *scene) { s.change("b", func(a *Answer) { a.Formed = true }) }, join, "newer than the cluster"},
		{"all peers were added to the cluster later", false, func(s *scene) {
			for _, name := range []string{"b", "c"} {
				s.change(name, func(a *Answer) { a.Formed, a.Incarnation = true, 99 })
			}
		}, join, "newer than the cluster"},
		{"a peer was added to another cluster while this one formed", true, func(s *scene) {
			s.change("b", func(a *Answer) { a.Formed, a.Stored = true, nil })
		}, wait, "not stored the table yet"},
		{"all stored", true, func(*scene) {}, form, ""},
		{"one has not stored", true, func(s *scene) { s.change("c", func(a *Answer) { a.Stored = nil }) }, wait, "not stored the table yet"},
		{"one is silent after storing", true, func(s *scene) { delete(s.answers, "c") }, wait, "c: no route"},
		{"one was replaced", true, func(s *scene) { s.change("c", func(a *Answer) { a.Stored, a.Incarnation = nil, 99 }) }, wait, "was replaced while the cluster formed"},
		{"one stored another table", true, func(s *scene) {
			other := s.table.clone()
			other.Members[1].Incarnation = 99
			s.change("c", func(a *Answer) { a.Stored = &other })
		}, wait, "stored another table"},
		{"one has formed, another is silent", true, func(s *scene) {
			s.change("c", func(a *Answer) { a.Formed = true })
			delete(s.answers, "b")
		}, form, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newScene(t, x.stored)
			x.spoil(s)
			d := decide(s.self, s.answers, map[string]string{"b": "no route", "c": "no route"})
			if d.action != x.want || !strings.Contains(describe(d.problems), x.problem) {
				t.Errorf("got %d, %q; want %d, %q", d.action, describe(d.problems), x.want, x.problem)
			}
			if (d.action == store || d.action == form) && !d.table.equal(s.table) {
				t.Errorf("table %+v", d.table)
			}
		})
	}
}
