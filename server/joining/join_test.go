package joining

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/identity"
)

// membership is of two members, one of them invited at "c:1", to vote, and another at "d:1", to stay a learner.
func membership(t *testing.T) raft.Membership {
	t.Helper()
	m := raft.NewMembership(
		raft.Member{ID: 1, Incarnation: 11, Name: "a", PeerAddress: "a:1"}, raft.Member{ID: 2, Incarnation: 22, Name: "b", PeerAddress: "b:1"},
	)
	m, _, err := m.ApplyAll([]raft.Change{
		{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: "c:1"}},
		{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: "d:1", Learner: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPlacesAreFoundByDirectoryAndByAddress(t *testing.T) {
	m := membership(t)
	for _, x := range []struct {
		name string
		is   Newcomer
		want Place
	}{
		{"invited to vote", Newcomer{"c:1", 33}, Place{Standing: Invited, Member: 3, Vote: true}},
		{"invited to learn", Newcomer{"d:1", 33}, Place{Standing: Invited, Member: 4}},
		{"at a member's address", Newcomer{"a:1", 33}, Place{Standing: Taken, Member: 1}},
		{"a member", Newcomer{"a:1", 11}, Place{Standing: Known, Member: 1}},
		{"a member that an invitation names the address of", Newcomer{"c:1", 22}, Place{Standing: Known, Member: 2}},
		{"nobody", Newcomer{"e:1", 33}, Place{Standing: Unknown}},
	} {
		if got := place(m, x.is); got != x.want {
			t.Errorf("%s: %+v, want %+v", x.name, got, x.want)
		}
	}
}

func TestWhatARoundLeadsTo(t *testing.T) {
	at := func(from string, s Standing, member raft.NodeID) answer {
		return answer{from: from, place: &Place{Standing: s, Cluster: 7, Member: member}}
	}
	silent := answer{from: "x", err: errors.New("refused")}
	elsewhere := answer{from: "y", place: &Place{Standing: Invited, Cluster: 8, Member: 3}}
	for _, x := range []struct {
		name    string
		answers []answer
		claim   raft.NodeID
		from    string
		problem string
	}{
		{"one has heard of the invitation", []answer{silent, at("a", Unknown, 0), at("b", Invited, 3)}, 3, "b", ""},
		{"all have", []answer{at("c", Invited, 3), at("a", Invited, 3), at("b", Invited, 3)}, 3, "a b c", ""},
		{"one has not heard that the first was taken back", []answer{at("a", Invited, 3), at("b", Invited, 5), at("c", Invited, 3)}, 5, "b", ""},
		{"one has not heard that another directory was removed", []answer{at("a", Taken, 2), at("b", Invited, 3)}, 3, "b", ""},
		{"claimed before", []answer{at("a", Known, 3), at("b", Known, 3)}, 0, "", "dial it"},
		{"claimed before, and some have not heard, or will never", []answer{at("a", Invited, 3), at("b", Known, 3), at("c", Invited, 3)}, 3, "a c", "dial it"},
		{"claimed before, and one has not heard that an earlier invitation was taken back", []answer{at("a", Invited, 2), at("b", Known, 3)}, 0, "", "dial it"},
		{"claimed before, removed, and invited anew", []answer{at("a", Known, 3), at("b", Invited, 5), at("c", Invited, 3)}, 5, "b", "dial it"},
		{"taken", []answer{at("a", Taken, 3), silent}, 0, "", "another data directory"},
		{"not invited", []answer{at("a", Unknown, 0), silent}, 0, "", "member add"},
		{"nobody answers", []answer{silent}, 0, "", "refused"},
		{"two clusters", []answer{at("a", Invited, 3), elsewhere}, 0, "", "two clusters"},
	} {
		d := decide("c:1", x.answers)
		claim := raft.NodeID(0)
		if d.claim != nil {
			claim = d.claim.Member
		}
		if claim != x.claim || strings.Join(d.from, " ") != x.from || (d.problem == "") != (x.problem == "") || !strings.Contains(d.problem, x.problem) {
			t.Errorf("%s: %+v", x.name, d)
		}
	}
}

// TestAClaimIsMadeAnewWhereItIsNotKnown: "a" has led, has taken the claim, and is cut off together with "b" before anybody else had it.
func TestAClaimIsMadeAnewWhereItIsNotKnown(t *testing.T) {
	var claims []string
	member := func(at string, s Standing, refusal error) *Service {
		return &Service{
			Find: func(context.Context, *Newcomer) (*Place, error) {
				return &Place{Standing: s, Cluster: 7, Member: 3, Vote: s == Invited}, nil
			},
			Claim: func(context.Context, *Claim) (*Claimed, error) {
				claims = append(claims, at)
				return &Claimed{}, refusal
			},
		}
	}
	leaderless := errors.New("no leader is known")
	members := &asker{services: map[string]*Service{"a": member("a", Known, leaderless), "b": member("b", Invited, leaderless), "c": member("c", Invited, nil)}}
	var log strings.Builder
	j := &joiner{Options: Options{Name: "d", PeerAddress: "d:1", Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	for _, want := range []string{"no leader is known", "dial it", "dial it"} {
		if problem := j.round(t.Context(), members, Newcomer{"d:1", 33}); !strings.Contains(problem, want) {
			t.Errorf("%q, want %q", problem, want)
		}
	}
	if got := strings.Join(claims, " "); got != "b c c" {
		t.Errorf("it was claimed at %s", got)
	}
	if n, err := readNote(j.Dir); err != nil || n != (note{Cluster: 7, Member: 3, Incarnation: 33, Vote: true}) {
		t.Errorf("%+v, %v", n, err)
	}
	if strings.Count(log.String(), "claimed the place") != 1 {
		t.Error(log.String())
	}
}

// wishes is a cluster that makes changes at once.
type wishes struct{ now raft.Membership }

func (w *wishes) Members(context.Context, bool) (raft.Membership, error) { return w.now, nil }

func (w *wishes) Change(_ context.Context, c raft.Change) (err error) {
	next, _, err := w.now.Apply(c)
	if err == nil {
		w.now = next
	}
	return err
}

func TestAPlaceIsClaimedOnce(t *testing.T) {
	cluster := raft.ClusterID(0)
	w := &wishes{membership(t)}
	d := desk{func() raft.ClusterID { return cluster }, w}
	ctx, first := context.Background(), Claim{Newcomer: Newcomer{"c:1", 33}, Cluster: 7, Member: 3, Name: "c"}
	if _, err := d.claim(ctx, &first); err == nil {
		t.Error("a node that is no member gives places away")
	}
	if _, err := d.find(ctx, &first.Newcomer); err == nil {
		t.Error("a node that is no member knows of places")
	}
	cluster = 7
	for what, spoil := range map[string]func(*Claim){
		"of another cluster": func(c *Claim) { c.Cluster = 8 },
		"of nobody":          func(c *Claim) { c.Member = 0 },
		"of another member":  func(c *Claim) { c.Member = 1 },
		"without a name":     func(c *Claim) { c.Name = "" },
		"with a long name":   func(c *Claim) { c.Name = strings.Repeat("x", maxNameBytes+1) },
		"without a directory": func(c *Claim) {
			c.Incarnation = 0
		},
		"from another address": func(c *Claim) { c.PeerAddress = "d:1" },
	} {
		c := first
		spoil(&c)
		if _, err := d.claim(ctx, &c); err == nil {
			t.Errorf("a claim %s was taken", what)
		}
	}
	for range 2 { // the first answer may be lost
		if _, err := d.claim(ctx, &first); err != nil {
			t.Fatal(err)
		}
		p, err := d.find(ctx, &first.Newcomer)
		if err != nil || *p != (Place{Standing: Known, Cluster: 7, Member: 3}) {
			t.Errorf("%+v, %v", p, err)
		}
	}
	second := first
	second.Incarnation = 34
	if _, err := d.claim(ctx, &second); err == nil || !strings.Contains(err.Error(), "another data directory") {
		t.Errorf("a second directory: %v", err)
	}
	if p, err := d.find(ctx, &second.Newcomer); err != nil || *p != (Place{Standing: Taken, Cluster: 7, Member: 3}) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestANoteIsAboutOneMemberOfOneDirectory(t *testing.T) {
	dir := t.TempDir()
	if n, err := readNote(dir); err != nil || n.about(identity.Identity{}) {
		t.Errorf("without one: %+v, %v", n, err)
	}
	for _, vote := range []bool{true, false} {
		want := note{Cluster: 7, Member: 3, Incarnation: 33, Vote: vote}
		if err := want.write(dir); err != nil {
			t.Fatal(err)
		}
		n, err := readNote(dir)
		if err != nil || n != want {
			t.Fatalf("%+v, %v", n, err)
		}
		for id, about := range map[identity.Identity]bool{
			{ClusterID: 7, MemberID: 3, Incarnation: 33, Name: "c"}: true,
			{ClusterID: 7, MemberID: 4, Incarnation: 33, Name: "c"}: false,
			{ClusterID: 8, MemberID: 3, Incarnation: 33, Name: "c"}: false,
			{ClusterID: 7, MemberID: 3, Incarnation: 34, Name: "c"}: false,
			{Incarnation: 33, Name: "c"}:                            false,
		} {
			if n.about(id) != about {
				t.Errorf("%+v is about %+v: %v", n, id, !about)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, noteName), []byte("no note"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readNote(dir); err == nil {
		t.Error("a damaged note was believed")
	}
}
