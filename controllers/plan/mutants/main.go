package main

import (
	"regexp"
	"strconv"

	"github.com/raftkv/raftkv/test/mutants"
)

func main() { mutants.Main(simulation, bugs) }

var simulation = mutants.Simulation{
	Package: "./controllers/plan",
	Arguments: func(seeds int) []string {
		return []string{"-test.run=TestSimulation$", "-plan.seeds=" + strconv.Itoa(seeds), "-plan.sweep=false", "-plan.lines=0"}
	},
	Failure: regexp.MustCompile(`seed (\d+), \d+ replicas: (.*)`),
	Seeds:   400,
}
