// Package loopback runs the members of a cluster as processes of one machine, for benchmarks: it starts and stops them, and reads what they use.
package loopback
