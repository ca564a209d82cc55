//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startTimeout is how long a cluster may take to have a leader.
	startTimeout = 30 * time.Second
	// stopTimeout is how long a process may take to end before it is killed.
	stopTimeout = 10 * time.Second
)

// cluster is one system: three processes of this program, which are told what to do on their standard input.
type cluster struct {
	name      string
	processes []*process
}

type process struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	logPath string
}

func startCluster(name, dir string) (*cluster, error) {
	addresses, err := freeAddresses(members)
	if err != nil {
		return nil, err
	}
	c := &cluster{name: name}
	for i := range members {
		p, err := startProcess(name, filepath.Join(dir, strconv.Itoa(i+1)), i+1, addresses)
		if err != nil {
			return nil, errors.Join(err, c.stop())
		}
		c.processes = append(c.processes, p)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := c.leader(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w; a member says: %s", name, err, c.processes[0].logTail()), c.stop())
	}
	return c, nil
}

func startProcess(system, dir string, id int, addresses []string) (*process, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	for name, text := range settingsFiles[system] {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	p := &process{logPath: filepath.Join(dir, "log")}
	log, err := os.Create(p.logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(self, memberCommand, "-system", system, "-dir", dir, "-id", strconv.Itoa(id), "-addresses", strings.Join(addresses, ","))
	p.cmd.Dir = dir
	// What a library prints must not get among the answers, which have a pipe of their own.
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A benchmark that dies takes its members along.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, answers, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer answers.Close()
	p.cmd.ExtraFiles = []*os.File{answers} // answersFD
	p.out = json.NewDecoder(out)
	return p, p.cmd.Start()
}

// ask sends a command to the process and waits for its answer.
func (p *process) ask(c command) (answer, error) {
	var a answer
	if err := json.NewEncoder(p.in).Encode(c); err != nil {
		return a, fmt.Errorf("%w; the member says: %s", err, p.logTail())
	}
	if err := p.out.Decode(&a); err != nil {
		return a, fmt.Errorf("%w; the member says: %s", err, p.logTail())
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// stop closes the process's input, on which it ends; one that does not is killed.
func (p *process) stop() error {
	_ = p.in.Close() // fails only when the process has ended already
	late := time.AfterFunc(stopTimeout, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	return p.cmd.Wait()
}

func (p *process) logTail() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	const tailBytes = 2000
	return string(text[max(0, len(text)-tailBytes):])
}

func (c *cluster) stop() error {
	var err error
	for _, p := range c.processes {
		err = errors.Join(err, p.stop())
	}
	return err
}

// leader waits until one of the members leads and another one says so too.
func (c *cluster) leader(ctx context.Context) (int, error) {
	for {
		for i, p := range c.processes {
			a, err := p.ask(command{Leader: true})
			if err != nil {
				return 0, err
			}
			if a.Leads {
				return i, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("no leader: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// measure runs one cell of the table. Processor time is that of all three processes from before the warm-up until after the last
// answer, over all entries of that time.
func (c *cluster) measure(ctx context.Context, l load) (outcome, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return outcome{}, err
	}
	before, err := c.usage()
	if err != nil {
		return outcome{}, err
	}
	if l.Profile != "" {
		follower := c.processes[(leader+1)%members]
		if _, err := follower.ask(command{Profile: l.Profile + "-follower"}); err != nil {
			return outcome{}, err
		}
		if _, err := c.processes[leader].ask(command{Profile: l.Profile + "-leader"}); err != nil {
			return outcome{}, err
		}
	}
	a, err := c.processes[leader].ask(command{Load: &l})
	if err != nil {
		return outcome{}, err
	}
	if l.Profile != "" {
		for _, p := range c.processes {
			if _, err := p.ask(command{Profile: endProfile}); err != nil {
				return outcome{}, err
			}
		}
	}
	after, err := c.usage()
	if err != nil {
		return outcome{}, err
	}
	r := outcome{measured: *a.Measured}
	for i := range after {
		r.cpu += after[i].CPU - before[i].CPU
		if i == leader {
			r.leaderBytes = after[i].ResidentBytes
		} else {
			r.followerBytes = max(r.followerBytes, after[i].ResidentBytes)
		}
	}
	return r, nil
}

func (c *cluster) usage() ([]usage, error) {
	out := make([]usage, len(c.processes))
	for i, p := range c.processes {
		a, err := p.ask(command{Usage: true})
		if err != nil {
			return nil, err
		}
		out[i] = *a.Usage
	}
	return out, nil
}

// freeAddresses are below those that the kernel gives to outgoing connections, so that nobody else has one when its member wants it.
func freeAddresses(n int) ([]string, error) {
	const first, count, attempts = 20_000, 12_000, 1000
	out := make([]string, 0, n)
	for range attempts {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(count)))
		if err != nil {
			continue
		}
		defer l.Close()
		if out = append(out, l.Addr().String()); len(out) == n {
			return out, nil
		}
	}
	return nil, errors.New("no free ports between 20000 and 32000")
}
