package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/raft/sim"
)

// machines names some of the machines; which those are is found out when the line is played.
type machines struct {
	words, but []string
}

var machineWords = []string{"all", "up", "down", "leader", "claimants", "follower", "followers", "any", "any-up", "any-down"}

func (a *args) machines() machines {
	m := machines{words: a.names()}
	if a.accept("but") {
		m.but = a.names()
	}
	return m
}

func (a *args) names() []string {
	words := strings.Split(a.word("a machine"), ",")
	for _, w := range words {
		if _, err := strconv.ParseUint(w, 10, 8); err != nil && !slices.Contains(machineWords, w) && !a.parser.names[w] {
			a.fail("%q is no machine: a number, a name of let, or one of %s", w, strings.Join(machineWords, ", "))
		}
	}
	return words
}

// among reads machines behind a word, which may be missing: then all are meant.
func (a *args) among(word string) machines {
	if a.accept(word) {
		return a.machines()
	}
	return machines{words: []string{"all"}}
}

// find returns the machines that are meant now, sorted, each once. There are some, unless the words say that there may be none.
func (m machines) find(p *play) ([]int, error) {
	not, err := p.find(m.but, nil)
	if err != nil {
		return nil, err
	}
	out, err := p.find(m.words, not)
	if err != nil {
		return nil, err
	}
	if len(out) == 0 && !slices.ContainsFunc(m.words, mayBeNone) {
		return nil, fmt.Errorf("no machine is meant by %s", strings.Join(m.words, ","))
	}
	return out, nil
}

func mayBeNone(w string) bool {
	return w == "down" || w == "up" || w == "claimants" || strings.HasPrefix(w, "any-")
}

// one returns the machine that is meant, which must be a single one.
func (m machines) one(p *play) (int, error) {
	found, err := m.find(p)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("one machine is wanted, %v are meant", found)
	}
	if err != nil {
		return 0, err
	}
	return found[0], nil
}

func (p *play) find(words []string, not []int) ([]int, error) {
	var out []int
	for _, w := range words {
		found, err := p.findWord(w)
		if err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(found, func(n int) bool { return slices.Contains(not, n) })
		out = append(out, p.choose(w, found)...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (p *play) findWord(w string) ([]int, error) {
	if n, err := strconv.Atoi(w); err == nil {
		if n < 1 || n > p.cluster.Size() {
			return nil, fmt.Errorf("there is no machine %d, they are numbered 1 to %d", n, p.cluster.Size())
		}
		return []int{n}, nil
	}
	if named, ok := p.names[w]; ok {
		return slices.Clone(named), nil
	}
	switch w {
	case "leader":
		if m := p.leader(nil); m != nil {
			return []int{m.Number}, nil
		}
		return nil, fmt.Errorf("nobody leads")
	case "claimants":
		return p.those(sim.Machine.Leads), nil
	case "follower", "followers":
		return p.those(func(m sim.Machine) bool { return m.Up && m.Member != 0 && !m.Leads() }), nil
	case "up", "any-up":
		return p.those(func(m sim.Machine) bool { return m.Up }), nil
	case "down", "any-down":
		return p.those(func(m sim.Machine) bool { return !m.Up }), nil
	}
	return p.those(func(m sim.Machine) bool { return m.Member != 0 }), nil
}

// choose picks one where the word says so: the first follower, or any by chance.
func (p *play) choose(w string, from []int) []int {
	n := 0
	switch {
	case len(from) < 2:
		return from
	case strings.HasPrefix(w, "any"):
		n = p.random.IntN(len(from))
	case w != "follower":
		return from
	}
	return from[n : n+1]
}

// those lists the machines for which f is true.
func (p *play) those(f func(sim.Machine) bool) []int {
	var out []int
	for n := 1; n <= p.cluster.Size(); n++ {
		if f(p.cluster.Machine(n)) {
			out = append(out, n)
		}
	}
	return out
}

// leader returns the one of these machines (of all for nil) that leads the highest term, or nil.
func (p *play) leader(among []int) *sim.Machine {
	var found *sim.Machine
	for n := 1; n <= p.cluster.Size(); n++ {
		if among != nil && !slices.Contains(among, n) {
			continue
		}
		if m := p.cluster.Machine(n); m.Leads() && (found == nil || m.Status.Term > found.Status.Term) {
			found = &m
		}
	}
	return found
}
