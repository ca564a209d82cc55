//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

const (
	// leastRequests is how many requests each client of the benchmark tool makes at least.
	leastRequests = 4
	// toolTimeout bounds a run of the tool, which ends by itself when it has its answers.
	toolTimeout = 5 * time.Minute
)

// toolPut is a put through etcd's gRPC API by etcd's benchmark tool, for both systems.
func toolPut(program string, clients int) workload {
	return workload{name: fmt.Sprintf("gRPC put, %d clients", clients), callers: clients, writes: true,
		tool: []string{program, "put", "--key-size=8", fmt.Sprintf("--val-size=%d", valueBytes)}}
}

// toolRange reads one key of those that were preloaded through etcd's gRPC API by etcd's benchmark tool, for both systems.
func toolRange(program string, clients int, serializable bool) workload {
	kind, consistency := "linearizable", "l"
	if serializable {
		kind, consistency = "serializable", "s"
	}
	return workload{name: fmt.Sprintf("gRPC %s range, %d clients", kind, clients), callers: clients,
		tool: []string{program, "range", keyName(0), "--consistency=" + consistency}}
}

// measureTool has the tool make a workload: a short run to warm up and to learn the rate, and one that takes about the given time.
func measureTool(s system, w workload, keys int, duration time.Duration) (outcome, error) {
	leader, err := settled(s)
	if err != nil {
		return outcome{}, err
	}
	arguments := append([]string{
		"--endpoints=" + s.endpoint(leader), fmt.Sprintf("--clients=%d", w.callers), fmt.Sprintf("--conns=%d", max(1, w.callers/callersPerConnection)),
	}, w.tool[1:]...)
	if w.writes {
		arguments = append(arguments, fmt.Sprintf("--key-space-size=%d", keys))
	}
	least := max(leastRequests*w.callers, int(warmUp.Seconds()*1000))
	first, err := runTool(w.tool[0], arguments, least)
	if err != nil {
		return outcome{}, fmt.Errorf("%s: %s: %w", s.name(), w.name, err)
	}
	total := max(least, int(first.perSecond*duration.Seconds()))

	before, err := totals(s)
	if err != nil {
		return outcome{}, err
	}
	written := loopback.WrittenToDisk(s.processes()[leader].Dir)
	out, err := runTool(w.tool[0], arguments, total)
	if err != nil {
		return outcome{}, fmt.Errorf("%s: %s: %w", s.name(), w.name, err)
	}
	after, err := totals(s)
	if err != nil {
		return outcome{}, err
	}
	out.storeCPU = (after.CPU - before.CPU).Seconds() / float64(total) * perOperations
	out.writtenPerByte = float64(loopback.WrittenToDisk(s.processes()[leader].Dir)-written) / (float64(total) * valueBytes)
	return out, nil
}

// runTool makes so many requests. Of the outcome it sets all that the tool itself knows or uses.
func runTool(program string, arguments []string, total int) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, program, append(arguments, fmt.Sprintf("--total=%d", total))...)
	var complaints strings.Builder
	c.Stderr = &complaints
	report, err := c.Output()
	if err != nil {
		return outcome{}, fmt.Errorf("%s: %w\n%s", program, err, complaints.String())
	}
	out, err := parseReport(string(report))
	out.loadCPU = (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds() / float64(total) * perOperations
	return out, err
}

// parseReport reads what the tool says at its end.
func parseReport(report string) (outcome, error) {
	var out outcome
	for line := range strings.Lines(report) {
		words := strings.Fields(line)
		var err error
		switch {
		case strings.HasPrefix(line, "Error distribution"):
			return out, fmt.Errorf("requests have failed:\n%s", report)
		case len(words) == 2 && words[0] == "Requests/sec:":
			out.perSecond, err = strconv.ParseFloat(words[1], 64)
		case len(words) == 4 && words[0] == "50%" && words[1] == "in":
			out.p50, err = time.ParseDuration(words[2] + "s")
		case len(words) == 4 && words[0] == "99%" && words[1] == "in":
			out.p99, err = time.ParseDuration(words[2] + "s")
		}
		if err != nil {
			return out, fmt.Errorf("what the benchmark tool says is not understood: %w", err)
		}
	}
	if out.perSecond == 0 || out.p50 == 0 || out.p99 == 0 {
		return out, errors.New("what the benchmark tool says is not understood:\n" + report)
	}
	return out, nil
}
