// Package load puts a cluster under load and measures it: so many callers, each with one call in flight, for a bounded time or number of calls. It
// promises that what it measures comes after a warm-up, that latencies are those of calls that succeeded, and that errors are counted by kind
// and never hidden. It writes only below a prefix that the caller names.
package load
