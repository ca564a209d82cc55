// Package mux lets one listener serve several protocols: it reads a connection's first bytes and hands the connection, with
// those bytes unread, to the listener of the protocol that they belong to.
//
// A connection that says nothing, or something that no protocol takes for its own, is closed in bounded time. The number of
// connections that have not yet said enough is bounded too.
package mux
