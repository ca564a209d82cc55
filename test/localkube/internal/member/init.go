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
	m := &machine{spec: spec, log: log, children: newReaper()}
	return m.run(context.Background())
}

// machine is what one init process knows of its programs. Its fields belong to the goroutine of run, but for ends, by
// which the watchers of programs tell it that one ended.
type machine struct {
	spec     Spec
	log      *slog.Logger
	children *reaper
	status   Status
	ends     chan end
}

// end is one end of a program that should have gone on.
type end struct {
	program int
	how     string
	ran     time.Duration
}

func (m *machine) run(ctx context.Context) error {
	m.ends = make(chan end, len(m.spec.Programs))
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
	for {
		select {
		case e := <-m.ends:
			if err := m.restart(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// await waits until a probe succeeds, and meanwhile starts again what ends.
func (m *machine) await(ctx context.Context, p Probe) error {
	ready := make(chan struct{})
	go func() {
		p.wait(ctx)
		close(ready)
	}()
	for {
		select {
		case <-ready:
			return nil
		case e := <-m.ends:
			if err := m.restart(e); err != nil {
				return err
			}
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

// restart starts a program again that ended. The pause holds back the whole member, which is right: while the API server
// or containerd is gone the others can do nothing but fail too.
func (m *machine) restart(e end) error {
	p := m.spec.Programs[e.program]
	m.fail(p, e.how)
	if e.ran > steadyAfter {
		m.status.Failures = 1
	}
	time.Sleep(min(longestRestart, firstRestartPause<<min(m.status.Failures-1, 10)))
	return m.start(e.program)
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
