package sim

import (
	"bufio"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"
)

var (
	seedFlag     = flag.Uint64("sim.seed", 0, "run this seed only (TestSimulation)")
	seedsFlag    = flag.Uint64("sim.seeds", 1000, "how many seeds TestCampaign runs")
	baseFlag     = flag.Uint64("sim.base", 1, "the first seed of TestCampaign")
	cpuFlag      = flag.Duration("sim.cpu", 0, "end TestCampaign after that much processor time, and at its first failure")
	durationFlag = flag.Duration("sim.duration", time.Minute, "how long faults go on in each run, in virtual time")
	traceFlag    = flag.Bool("sim.trace", false, "write a readable account of the run of -sim.seed")
	shrinkFlag   = flag.Bool("sim.shrink", true, "look for a smaller run when a campaign has failed")
	withoutFlag  = flag.String("sim.without", "", "kinds of faults to leave out, separated by commas")
)

func report(t *testing.T, res Result, without Faults) {
	t.Helper()
	t.Errorf("seed %d: %v\nreplay: %s", res.Seed, res.Violation, Replay(res.Seed, *durationFlag, without))
}

// TestSimulation runs the seed that the flags name: this is how a failure of a campaign is looked at.
func TestSimulation(t *testing.T) {
	without, err := ParseFaults(*withoutFlag)
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{Seed: *seedFlag, Duration: *durationFlag, Without: without}
	if *traceFlag {
		out := bufio.NewWriterSize(os.Stdout, 1<<20)
		defer func() { _ = out.Flush() }()
		opts.Trace = out
	}
	res := Run(opts)
	if res.Violation != nil {
		report(t, res, without)
	}
	t.Logf("seed %d: hash %016x, %s virtual, %d events\n%s", res.Seed, res.Hash, res.Virtual, res.Events, res.Coverage)
}

// TestCampaign runs many seeds. It fails if a promise is broken, and also if something that it is to survive never
// happened in it.
func TestCampaign(t *testing.T) {
	c := Campaign{Base: *baseFlag, Seeds: *seedsFlag, Duration: *durationFlag, Workers: runtime.GOMAXPROCS(0), CPU: *cpuFlag}
	if !*shrinkFlag {
		c.MostFailures = 1
	}
	if c.CPU > 0 {
		c.Seeds, c.MostFailures = math.MaxUint64, 1
		c.Progress = func(s Summary) { t.Logf("so far:\n%s", s.Report()) }
	}
	sum := c.Run()
	for _, res := range sum.Failures {
		report(t, res, 0)
	}
	if len(sum.Failures) > 0 && !*shrinkFlag {
		return
	}
	if len(sum.Failures) > 0 {
		small := Shrink(Options{Seed: sum.Failures[0].Seed, Duration: *durationFlag})
		t.Errorf("the smallest run like the first has faults for %s of these kinds: %s\n%s",
			small.Duration, AllFaults&^small.Without, Replay(small.Seed, small.Duration, small.Without))
		return
	}
	t.Logf("\n%s", sum.Report())
	const enough = 100 // seeds after which everything must have happened
	if missing := sum.Coverage.Missing(); len(missing) > 0 && sum.Seeds >= enough {
		t.Errorf("these never happened in %d seeds: %v", sum.Seeds, missing)
	}
}

func TestSameSeedSameHash(t *testing.T) {
	hashes := map[uint64]uint64{}
	for seed := uint64(1); seed <= 20; seed++ {
		a := Run(Options{Seed: seed, Duration: 20 * time.Second})
		b := Run(Options{Seed: seed, Duration: 20 * time.Second})
		if a.Hash != b.Hash || a.Events != b.Events {
			t.Errorf("seed %d: hash %016x after %d events, then %016x after %d", seed, a.Hash, a.Events, b.Hash, b.Events)
		}
		if other, ok := hashes[a.Hash]; ok {
			t.Errorf("seeds %d and %d have the same hash %016x", other, seed, a.Hash)
		}
		hashes[a.Hash] = seed
	}
}

func TestFaultsAreNamed(t *testing.T) {
	for i := range faultNames {
		f := Faults(1 << i)
		if got, err := ParseFaults(f.String()); err != nil || got != f {
			t.Errorf("%s is read as %v, %v", f, got, err)
		}
	}
	if got, err := ParseFaults(AllFaults.String()); err != nil || got != AllFaults || fmt.Sprint(Faults(0)) != "" {
		t.Errorf("all kinds are read as %v, %v", got, err)
	}
	if _, err := ParseFaults("loss,thunder"); err == nil {
		t.Error("an unknown kind of fault is accepted")
	}
}
