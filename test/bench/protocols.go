//go:build linux

package main

import "fmt"

// protocolCallers wait for each answer; over HTTP each has a connection, natively all share protocolClients.
const (
	protocolCallers = 256
	protocolClients = 4
)

// protocols measures raftkv's REST and its native protocol beside each other.
func protocols(o options, ours system) error {
	natively := func(w workload) workload {
		w.nativeClients = protocolClients
		return w
	}
	workloads := []workload{putWorkload(protocolCallers), getWorkload(protocolCallers, false), getWorkload(protocolCallers, true), mixWorkload(protocolCallers)}
	fmt.Printf("\n| raftkv, %d callers | protocol | requests | p50 | p99 | CPU of the store per 100k | CPU of the load per 100k | requests, native to HTTP |\n|---|---|---:|---:|---:|---:|---:|---:|\n", protocolCallers)
	for _, w := range workloads {
		var http, native []outcome
		for range o.rounds {
			for _, x := range []struct {
				w  workload
				to *[]outcome
			}{{w, &http}, {natively(w), &native}} {
				out, err := measure(ours, x.w, o.keys, o.duration)
				if err != nil {
					return err
				}
				*x.to = append(*x.to, out)
			}
		}
		rate := func(o outcome) float64 { return o.perSecond }
		line := func(name string, of []outcome, ratio string) {
			fmt.Printf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", w.name, name, perSecond(middle(of, rate)),
				milliseconds(middle(of, func(o outcome) float64 { return float64(o.p50) })), milliseconds(middle(of, func(o outcome) float64 { return float64(o.p99) })),
				seconds(middle(of, func(o outcome) float64 { return o.storeCPU })), seconds(middle(of, func(o outcome) float64 { return o.loadCPU })), ratio)
		}
		line("HTTP/JSON", http, "")
		line(fmt.Sprintf("native, %d connections", protocolClients), native, fmt.Sprintf("%.2fx", middle(native, rate)/middle(http, rate)))
		progress("%s: both protocols", w.name)
	}
	return nil
}
