package bootstrap

import (
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// Answer is what a node of a static cluster says of itself. It is also the question.
type Answer struct {
	Name        string           `json:"name"`
	Incarnation raft.Incarnation `json:"incarnation"`
	// Outline is the table that the node's flags make, without incarnations.
	Outline Table `json:"outline"`
	// Stored is the table that the node has stored, if it has.
	Stored *Table `json:"stored,omitempty"`
	// Formed says that the node is a member of the cluster: of that table, or, if it has none, added later than the first.
	Formed bool `json:"formed"`
}

// action is what a round leads to.
type action int

const (
	wait action = iota
	// store the table that the decision holds, and go on asking.
	store
	// form the cluster of the stored table.
	form
	// join says that the cluster exists without this directory: wait to be added.
	join
)

// decision is the outcome of a round. problems maps the name of each member that is waited for to the reason.
type decision struct {
	action   action
	table    Table
	problems map[string]string
}

// decide takes one round's answers by the name that was asked; a member that did not answer is missing or has a reason in failed.
func decide(self Answer, answers map[string]Answer, failed map[string]string) decision {
	d := decision{problems: map[string]string{}}
	table := self.Outline.clone()
	agreed := true
	for i, m := range table.Members {
		if m.Name == self.Name {
			table.Members[i].Incarnation = self.Incarnation
			continue
		}
		a, answered := answers[m.Name]
		if !answered {
			d.problems[m.Name] = failed[m.Name]
			agreed = false
			continue
		}
		if problem := a.mismatch(self, m.Name); problem != "" {
			d.problems[m.Name] = problem
			agreed = false
			continue
		}
		if why := a.excludes(self); why != "" {
			return decision{action: join, problems: map[string]string{m.Name: why}}
		}
		if self.Stored != nil && a.Formed && a.Stored != nil && a.Stored.equal(*self.Stored) {
			return decision{action: form, table: *self.Stored}
		}
		table.Members[i].Incarnation = a.Incarnation
		if problem := a.unstored(self); problem != "" {
			d.problems[m.Name] = problem
		}
	}
	switch {
	case self.Stored == nil && agreed:
		return decision{action: store, table: table}
	case self.Stored != nil && len(d.problems) == 0:
		return decision{action: form, table: *self.Stored}
	}
	return d
}

// mismatch says why the node that answered is not the one that was meant.
func (a Answer) mismatch(self Answer, name string) string {
	switch {
	case a.Name != name:
		return fmt.Sprintf("the node at its address says that its name is %q: check --initial-cluster and --name", a.Name)
	case a.Outline.Token != self.Outline.Token:
		return "it has another --initial-cluster-token"
	case !a.Outline.sameOutline(self.Outline):
		return "it has another --initial-cluster: give all members the same"
	}
	return ""
}

// excludes says why there is a cluster, or one that forms, without this node, which has promised nothing yet; empty if there is none that is known.
func (a Answer) excludes(self Answer) string {
	if self.Stored != nil {
		return ""
	}
	if a.Stored == nil {
		if a.Formed {
			return "it is a member that was added to the cluster, which so is there already: this data directory is newer than the cluster"
		}
		return ""
	}
	if m, named := a.Stored.Find(self.Name); named && m.Incarnation == self.Incarnation {
		return ""
	}
	return "it stored another incarnation of this node: this data directory is newer than the cluster"
}

// unstored says what keeps an answer from confirming the table that this node has stored.
func (a Answer) unstored(self Answer) string {
	if self.Stored == nil {
		return ""
	}
	mine, _ := self.Stored.Find(a.Name)
	switch {
	case mine.Incarnation != a.Incarnation:
		return fmt.Sprintf("its data directory was replaced while the cluster formed (incarnation %v was stored, %v answers): "+
			"nothing is lost yet; stop all members, empty their data directories, and start them again", mine.Incarnation, a.Incarnation)
	case a.Stored == nil:
		return "it has not stored the table yet"
	case !a.Stored.equal(*self.Stored):
		return "it stored another table: nothing is lost yet; stop all members, empty their data directories, and start them again"
	}
	return ""
}

// othersThan returns the other members, sorted by name.
func (t Table) othersThan(name string) []TableMember {
	return slices.DeleteFunc(slices.Clone(t.Members), func(m TableMember) bool { return m.Name == name })
}
