package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/raftkv/raftkv/raft"
)

const (
	// pollEvery is how often a condition is looked at while a story waits for it, in virtual time.
	pollEvery = 10 * time.Millisecond
	// patience is how long a story waits where it does not say.
	patience = 20 * time.Second
	// traceTail is how many lines of the trace a failure shows.
	traceTail = 150
)

// play is one performance of a story.
type play struct {
	seed    uint64
	trace   io.Writer
	stage   Stage
	cluster Cluster
	random  *rand.Rand
	told    []telling
	place   string // of the line that is played

	names map[string][]int
	links links
	// led is who led when that was last waited for.
	led  raft.NodeID
	term raft.Term
	mark mark
	// started are operations whose answer nobody waits for.
	started []Answer
	fresh   uint64
	// lastMember is who was on a machine before its disk was lost.
	lastMember map[int]raft.NodeID

	failure *Failure
}

// telling is a line of the story so far.
type telling struct {
	at    time.Duration
	place string
	text  string
}

// Failure says where a story did not go as it says.
type Failure struct {
	Story string
	Seed  uint64
	// Place is file:line of the line that failed.
	Place string
	Cause error
	told  []telling
	trace []string
	// skipped is how many lines of the trace come before.
	skipped int
}

func (f *Failure) Unwrap() error { return f.Cause }

func (f *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v\nthe story so far (seed %d):\n", f.Place, f.Cause, f.Seed)
	for _, t := range f.told {
		fmt.Fprintf(&b, "%10.3fs  %s  %s\n", t.at.Seconds(), t.place, t.text)
	}
	if len(f.trace) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "the trace, %d earlier lines left out (all of it: go test ./raft/sim/scenario -run 'TestStories/%s$' -v -scenario.seed=%d -scenario.trace):\n", f.skipped, f.Story, f.Seed)
	for _, line := range f.trace {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}

// Result is what a story that went well came to.
type Result struct {
	// Hash is the same for two plays of one story, seed and build.
	Hash uint64
	// Virtual is how much time passed in it.
	Virtual time.Duration
	// Commits is how many entries were committed.
	Commits uint64
}

// Play plays the story with the chance of a seed. A story that does not go as it says fails with a *Failure. Trace takes an account
// of all that happens, if it is not nil.
func (s *Story) Play(seed uint64, trace io.Writer) (Result, error) {
	p := s.perform(seed, simulation, trace)
	if p.failure == nil {
		return Result{Hash: p.cluster.(simulated).Hash(), Virtual: p.cluster.Now(), Commits: p.cluster.Coverage().EntriesCommitted}, nil
	}
	if trace == nil {
		// What happened is written down only when someone wants to read it; it happens again in the same way.
		var out bytes.Buffer
		again := s.perform(seed, simulation, &out)
		if again.failure == nil || again.failure.Place != p.failure.Place {
			return Result{}, fmt.Errorf("%w\nplayed again it went another way, to %s: the simulation is not deterministic", p.failure, again.place)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		p.failure.skipped = max(0, len(lines)-traceTail)
		p.failure.trace = lines[p.failure.skipped:]
	}
	return Result{}, p.failure
}

// PlayOn plays the story on another stage. What happens there need not be the same each time, so there is no trace but the cluster's own.
func (s *Story) PlayOn(seed uint64, stage Stage, trace io.Writer) error {
	if p := s.perform(seed, stage, trace); p.failure != nil {
		return p.failure
	}
	return nil
}

func (s *Story) perform(seed uint64, stage Stage, trace io.Writer) *play {
	p := &play{
		seed: seed, trace: trace, stage: stage, random: rand.New(rand.NewPCG(seed, 1)),
		names: map[string][]int{}, lastMember: map[int]raft.NodeID{},
	}
	err := p.steps(s.steps)
	if err == nil && p.cluster == nil {
		err = errors.New("the story has no cluster")
	} else if err == nil {
		err = p.cluster.Check()
	}
	if err == nil {
		return p
	}
	if trace != nil && p.cluster != nil {
		p.cluster.TraceStatus()
	}
	p.failure = &Failure{Story: s.Name, Seed: seed, Place: p.place, Cause: err, told: p.told}
	return p
}

// mostTold bounds the story so far, which loops make long.
const mostTold = 60

func (p *play) tell(x step, text string) {
	t := telling{place: x.place, text: text}
	if p.cluster != nil {
		t.at = p.cluster.Now()
		if p.trace != nil {
			p.cluster.Note(x.place + ": " + text)
		}
	}
	p.told = append(p.told, t)
	if len(p.told) > 2*mostTold {
		p.told = append(p.told[:0], p.told[len(p.told)-mostTold:]...)
	}
}

func (p *play) steps(steps []step) error {
	for _, x := range steps {
		p.tell(x, x.text)
		for range x.times {
			if err := p.steps(x.body); err != nil {
				return err
			}
		}
		if x.do == nil {
			continue
		}
		p.place = x.place
		if err := x.do(p); err != nil {
			return fmt.Errorf("%s: %w", x.text, err)
		}
	}
	return nil
}

// say adds to the story so far what came of the line.
func (p *play) say(format string, values ...any) {
	p.told[len(p.told)-1].text += "  -> " + fmt.Sprintf(format, values...)
}

// condition tells what is missing, nothing if it holds.
type condition func(p *play) (lacks string, err error)

// wait lets time pass until the condition holds, for limit at most.
func (p *play) wait(limit time.Duration, holds condition) error {
	limit = p.cluster.Patience(limit)
	deadline := p.cluster.Now() + limit
	for {
		lacks, err := holds(p)
		if err != nil || lacks == "" {
			return err
		}
		if p.cluster.Now() >= deadline {
			if limit > 0 {
				lacks += fmt.Sprintf(" (waited %s)", limit)
			}
			return errors.New(lacks)
		}
		if err := p.cluster.Run(min(pollEvery, deadline-p.cluster.Now())); err != nil {
			return err
		}
	}
}
