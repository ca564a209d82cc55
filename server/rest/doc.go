// Package rest serves the store over HTTP/1 in a form that curl can speak:
//
//	PUT    /v1/kv/KEY          body: the value            200, or 412 with the current mod revision
//	GET    /v1/kv/KEY          body: the value            200, 304, 404
//	DELETE /v1/kv/KEY                                     200, 404, 412
//	GET    /v1/kv/PREFIX?prefix                           200: the keys that begin with PREFIX, as JSON
//
// KEY is all that follows /v1/kv/, percent-decoded once: any bytes, "%2F" and "/" mean the same, empty and dot segments are kept.
//
// Query parameters: timeout (a duration such as 500ms, 5 s unless given, at most a minute); for GET also serializable=true
// (answer from this node's own state, which may be stale), revision (read as of then), and with prefix also limit, keysOnly and
// continue (the word of that name in the answer before).
//
// If-Match with a mod revision in quotes makes PUT and DELETE conditional on it, If-Match: * on the key's existence and
// If-None-Match: * on its absence. Answers carry X-Raftkv-Revision (the store's), and where a key is
// concerned X-Raftkv-Mod-Revision, which is also the ETag, X-Raftkv-Create-Revision and X-Raftkv-Version.
//
// Failures are problem documents (RFC 9457) with a stable "code". 503 means that the request was surely not applied and may be sent
// again, here or elsewhere; 504 means that nobody knows. Every answer comes within the timeout.
//
// What it does not do: no authentication, no TLS, no deletion of many keys at once.
package rest
