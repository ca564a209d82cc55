package main

import (
	"regexp"
	"strconv"

	"github.com/raftkv/raftkv/test/mutants"
)

func main() { mutants.Main(simulation, list()) }

var simulation = mutants.Simulation{
	Package: "./raft/sim",
	Arguments: func(seeds int) []string {
		return []string{"-test.run=TestCampaign$", "-sim.seeds=" + strconv.Itoa(seeds), "-sim.shrink=false"}
	},
	Failure: regexp.MustCompile(`(?m)seed (\d+): (.*?) broken at`),
	Seeds:   1000,
}

// list is what bugs says, in the words of package mutants.
func list() []mutants.Bug {
	var out []mutants.Bug
	for _, b := range bugs {
		m := mutants.Bug{Name: b.name, File: b.file}
		for _, e := range b.edits {
			m.Edits = append(m.Edits, mutants.Edit{Find: e.find, Replace: e.replace})
		}
		out = append(out, m)
	}
	return out
}
