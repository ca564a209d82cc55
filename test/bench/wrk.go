//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

// wrkScript asks for random keys of those that were preloaded; %[1]s is the method, %[2]d how many keys there are, %[3]s the query, %[4]d the
// length of the body.
const wrkScript = `
math.randomseed(os.time())
local body = string.rep("v", %[4]d)
request = function()
  return wrk.format("%[1]s", string.format("/v1/kv/bench/%%08d%[3]s", math.random(0, %[2]d - 1)), nil, %[4]d > 0 and body or nil)
end
`

// wrkCases are what wrk measures over REST.
var wrkCases = []struct {
	name, method, query string
	bodyBytes           int
}{
	{"put", "PUT", "", valueBytes},
	{"linearizable get", "GET", "", 0},
	{"serializable get", "GET", "?serializable=true", 0},
}

var (
	wrkRate  = regexp.MustCompile(`(?m)^Requests/sec:\s+([0-9.]+)`)
	wrkTail  = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([0-9.]+)(us|ms|s)`)
	wrkCount = regexp.MustCompile(`(?m)^\s+(\d+) requests in`)
)

// byWrk measures raftkv's REST with wrk, a load generator that keeps its connections and takes little processor time itself.
func byWrk(o options, ours system) error {
	leader, err := settled(ours)
	if err != nil {
		return err
	}
	script := filepath.Join(o.dir, fmt.Sprintf("wrk-%d.lua", os.Getpid()))
	defer os.Remove(script)
	fmt.Printf("\n| raftkv's REST by wrk, %d connections | requests | p50 | p99 | CPU of the store per 100k |\n|---|---:|---:|---:|---:|\n", protocolCallers)
	for _, x := range wrkCases {
		if err := os.WriteFile(script, fmt.Appendf(nil, wrkScript, x.method, o.keys, x.query, x.bodyBytes), 0o600); err != nil {
			return err
		}
		before, err := totals(ours)
		if err != nil {
			return err
		}
		text, err := runWrk(o, script, ours.endpoint(leader))
		if err != nil {
			return fmt.Errorf("%s by wrk: %w", x.name, err)
		}
		after, err := totals(ours)
		if err != nil {
			return err
		}
		line, err := wrkLine(text, before, after)
		if err != nil {
			return fmt.Errorf("%s by wrk: %w", x.name, err)
		}
		fmt.Printf("| %s | %s |\n", x.name, line)
		progress("%s by wrk", x.name)
	}
	return nil
}

func runWrk(o options, script, endpoint string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.duration+answerTimeout)
	defer cancel()
	// One thread: there are two processors for three members too.
	command := exec.CommandContext(ctx, o.wrk, "--threads=1", fmt.Sprintf("--connections=%d", protocolCallers), fmt.Sprintf("--duration=%ds", max(1, int(o.duration.Seconds()))),
		"--latency", "--timeout=10s", "--script="+script, "http://"+strings.TrimPrefix(endpoint, "http://"))
	text, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return string(text), nil
}

// wrkLine reads what wrk prints. A run with answers that are errors does not count.
func wrkLine(text string, before, after loopback.Usage) (string, error) {
	for _, bad := range []string{"Non-2xx", "Socket errors"} {
		if strings.Contains(text, bad) {
			return "", fmt.Errorf("some requests failed: %s", text)
		}
	}
	rate, count, tails := wrkRate.FindStringSubmatch(text), wrkCount.FindStringSubmatch(text), wrkTail.FindAllStringSubmatch(text, -1)
	if rate == nil || count == nil || len(tails) != 2 {
		return "", fmt.Errorf("its output is not understood: %s", text)
	}
	each, err := strconv.ParseFloat(rate[1], 64)
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseFloat(count[1], 64)
	if err != nil {
		return "", err
	}
	out := []string{perSecond(each)}
	for _, t := range tails {
		d, err := time.ParseDuration(t[2] + t[3])
		if err != nil {
			return "", err
		}
		out = append(out, milliseconds(float64(d)))
	}
	return strings.Join(append(out, seconds((after.CPU-before.CPU).Seconds()/n*perOperations)), " | "), nil
}
