package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"
)

// restartPauses bound how fast a program that ends again and again is started again.
const (
	firstRestartPause = 500 * time.Millisecond
	longestRestart    = 10 * time.Second
	maxDoublings      = 10
	// steadyAfter is how long a program must have run for its next end to count as its first.
	steadyAfter = 30 * time.Second
	// onceAttempts bounds how often a program that shall run once may fail before the member gives up.
	onceAttempts = 3
)

// Init is the life of a member's init process. It returns only if the member cannot be set up; the process must then end.
func Init(work, name string) error {
	if os.Getpid() != 1 {
		return errors.New("this command is run by localkube itself, inside of a member's namespaces; use up")
	}
	spec, err := ReadSpec(SpecFile(work, name))
	if err != nil {
		return err
	}
	if err := enter(spec); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("member", name)
	if spec.ForwardTo != "" {
		if err := forward(spec.ForwardTo, log); err != nil {
			return err
		}
	}
	return newMachine(spec, log, newReaper()).run(context.Background())
}

// machine is what one init process knows of its programs. Its fields belong to the goroutine of run, but for the channels:
// by ends the watchers of programs tell it that one ended, by due that a program's pause before its next start is over.
type machine struct {
	spec     Spec
	log      *slog.Logger
	children *reaper
	status   Status
	failures map[int]int // by program, since it last ran for long
	ends     chan end
	due      chan int
}

// end is one end of a program that should have gone on.
type end struct {
	program int
	how     string
	ran     time.Duration
}

// newMachine has room for one end and one start of each program under way, so that nobody ever waits to tell of one.
func newMachine(spec Spec, log *slog.Logger, children *reaper) *machine {
	return &machine{
		spec: spec, log: log, children: children, failures: map[int]int{},
		ends: make(chan end, len(spec.Programs)), due: make(chan int, len(spec.Programs)),
	}
}

func (m *machine) run(ctx context.Context) error {
	m.status.Since = time.Now()
	for i, p := range m.spec.Programs {
		m.status.Program = p.Name
		if err := writeStatus(m.spec.StatusFile, m.status); err != nil {
			return err
		}
		if err := m.await(ctx, p.Needs); err != nil {
			return err
		}
		if p.Once {
			if err := m.runOnce(p); err != nil {
				return err
			}
			continue
		}
		if err := m.start(i); err != nil {
			return err
		}
		if err := m.await(ctx, p.Ready); err != nil {
			return err
		}
	}
	m.status.Running, m.status.Program = true, ""
	if err := writeStatus(m.spec.StatusFile, m.status); err != nil {
		return err
	}
	m.log.Info("all programs run", "took", time.Since(m.status.Since).Round(time.Millisecond))
	return m.tend(ctx, nil)
}

// await waits until a probe succeeds, and meanwhile starts again what ends.
func (m *machine) await(ctx context.Context, p Probe) error {
	ready := make(chan struct{})
	go func() {
		p.wait(ctx)
		close(ready)
	}()
	return m.tend(ctx, ready)
}

// tend starts again what ends, until done is closed.
func (m *machine) tend(ctx context.Context, done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return ctx.Err()
		case e := <-m.ends:
			m.ended(e)
		case program := <-m.due:
			if err := m.start(program); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *machine) runOnce(p Program) error {
	for attempt := 1; ; attempt++ {
		child, err := m.children.start(m.spec.LogDir, p)
		if err != nil {
			return err
		}
		how := <-child
		if how == "" {
			return nil
		}
		m.fail(p, how)
		if attempt == onceAttempts {
			return fmt.Errorf("%s failed %d times (%s); see %s", p.Name, attempt, how, logFile(m.spec.LogDir, p))
		}
		time.Sleep(firstRestartPause)
	}
}

func (m *machine) start(program int) error {
	p := m.spec.Programs[program]
	child, err := m.children.start(m.spec.LogDir, p)
	if err != nil {
		return err
	}
	started := time.Now()
	go func() {
		how := <-child
		if how == "" {
			how = "ended without an error"
		}
		m.ends <- end{program: program, how: how, ran: time.Since(started)}
	}()
	return nil
}

// ended has a program that ended started again after a pause, which is longer each time unless it ran for long. The others
// need not wait for that: the members of the control plane's store make up for each other.
func (m *machine) ended(e end) {
	m.fail(m.spec.Programs[e.program], e.how)
	if e.ran > steadyAfter {
		m.status.Failures = 1
		m.failures[e.program] = 0
	}
	pause := min(longestRestart, firstRestartPause<<min(m.failures[e.program], maxDoublings))
	m.failures[e.program]++
	time.AfterFunc(pause, func() { m.due <- e.program })
}

func (m *machine) fail(p Program, how string) {
	m.status.Failures++
	m.status.FailedProgram = p.Name
	m.status.LastFailure = p.Name + " " + how
	m.log.Error("a program ended", "program", p.Name, "how", how, "failures", m.status.Failures)
	if err := writeStatus(m.spec.StatusFile, m.status); err != nil {
		m.log.Error("the status could not be written", "err", err)
	}
}

func logFile(dir string, p Program) string { return filepath.Join(dir, p.Name+".log") }

// forward passes connections from the machine into the member's network: the listener was opened before the namespaces
// were made and so belongs to the machine, while every connection made here belongs to the member.
func forward(to string, log *slog.Logger) error {
	file := os.NewFile(listenerFD, "listener")
	listener, err := net.FileListener(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("take over the listener: %w", err)
	}
	go func() {
		for {
			outside, err := listener.Accept()
			if err != nil {
				log.Error("accept a connection for the API server", "err", err)
				time.Sleep(firstRestartPause)
				continue
			}
			go relay(outside, to)
		}
	}()
	return nil
}
