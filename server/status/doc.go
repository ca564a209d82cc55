// Package status serves what a machine or a person wants to know of a node on its metrics port: /v1/status (JSON), /livez, /readyz
// and /metrics (Prometheus).
//
// /livez says that the process serves requests, and depends on nothing else: no peer, no quorum, no replay. /readyz says that the
// node knows a leader and has applied all that was committed when it learned of it, and otherwise why not.
package status
