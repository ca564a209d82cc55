// Package rest serves the store over HTTP/1 in a form that curl can speak: raw values at /v1/kv/KEY, and JSON for all else:
// ranges, transactions, leases, compaction, and watches as server-sent events. docs/reference/rest.md is its description for
// people, openapi.json, which every node serves, that for programs. Tests hold both against the code.
//
// KEY is all that follows the path's beginning, percent-decoded once: any bytes, "%2F" and "/" mean the same, empty and dot segments are
// kept. In JSON, keys and values are base64 and numbers are strings.
//
// Failures are problem documents (RFC 9457) with a stable "code". 503 means that the request was surely not applied and may be sent
// again, here or elsewhere; 504 means that nobody knows. Every answer comes within the timeout; what a request costs in memory
// is bounded, by itself and for all together. A watch tells whole revisions and names each, so that it resumes exactly where it broke.
//
// What it does not do: no authentication, no TLS. Range deletions are made in transactions only, so that a slip of a path or a parameter costs
// one key at most.
package rest
