//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// memberCommand is the first argument of a process that is a member.
const memberCommand = "member"

// answersFD is the file descriptor to which a member writes its answers.
const answersFD = 3

// endProfile is the Profile that ends the one that runs.
const endProfile = "-"

// engine is a member of one of the systems.
type engine interface {
	// Leads tells whether this member leads.
	Leads() bool
	// Propose returns when the command was applied here. The command is not changed by anyone.
	Propose(ctx context.Context, command []byte) error
	Stop() error
}

// place is where a member runs.
type place struct {
	dir       string
	id        int // from 1
	addresses []string
}

var engines = map[string]func(place) (engine, error){
	"raftkv": startRaftkv, "hashicorp": startHashicorp, "dragonboat": startDragonboat,
}

func systemNames() []string { return []string{"raftkv", "hashicorp", "dragonboat"} }

// command is what a member is told, answer what it says; one JSON value each.
type command struct {
	Leader, Usage bool
	Load          *load
	Profile       string
}

type answer struct {
	Error    string
	Leads    bool
	Usage    *usage
	Measured *measured
}

// usage is what a process has used of the machine since its start.
type usage struct {
	CPU           time.Duration
	ResidentBytes int64
}

func runMember(args []string) error {
	var system, addresses string
	var at place
	flags := flag.NewFlagSet(memberCommand, flag.ContinueOnError)
	flags.StringVar(&system, "system", "", "the system")
	flags.StringVar(&at.dir, "dir", "", "its directory")
	flags.IntVar(&at.id, "id", 0, "which member this is, from 1")
	flags.StringVar(&addresses, "addresses", "", "the members' addresses")
	if err := flags.Parse(args); err != nil {
		return err
	}
	at.addresses = strings.Split(addresses, ",")
	e, err := engines[system](at)
	if err != nil {
		return err
	}
	m := member{engine: e}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.NewFile(answersFD, "answers"))
	for {
		var c command
		if err := in.Decode(&c); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, e.Stop())
		}
		a, err := m.do(c)
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return errors.Join(err, e.Stop())
		}
	}
}

type member struct {
	engine  engine
	profile *os.File
	prefix  string
}

func (m *member) do(c command) (answer, error) {
	var a answer
	var err error
	switch {
	case c.Leader:
		a.Leads = m.engine.Leads()
	case c.Usage:
		a.Usage, err = ownUsage()
	case c.Load != nil:
		a.Measured, err = c.Load.run(m.engine)
	case c.Profile == endProfile:
		err = m.endProfile()
	case c.Profile != "":
		err = m.beginProfile(c.Profile)
	}
	return a, err
}

func (m *member) beginProfile(prefix string) (err error) {
	m.prefix = prefix
	if m.profile, err = os.Create(filepath.Clean(prefix + ".cpu.pprof")); err != nil {
		return err
	}
	return pprof.StartCPUProfile(m.profile)
}

func (m *member) endProfile() error {
	if m.profile == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := m.profile.Close()
	m.profile = nil
	f, createErr := os.Create(filepath.Clean(m.prefix + ".allocs.pprof"))
	if createErr != nil {
		return errors.Join(err, createErr)
	}
	return errors.Join(err, pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

func ownUsage() (*usage, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return nil, err
	}
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		rest, found := strings.CutPrefix(line, "VmRSS:")
		if words := strings.Fields(rest); found && len(words) > 0 {
			kilobytes, err := strconv.ParseInt(words[0], 10, 64)
			return &usage{CPU: time.Duration(r.Utime.Nano() + r.Stime.Nano()), ResidentBytes: kilobytes << 10}, err
		}
	}
	return nil, errors.New("/proc/self/status has no VmRSS")
}
