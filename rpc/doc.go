// Package rpc is a framed, versioned, checksummed binary RPC over any net.Conn: many calls in flight on one
// connection, answers in any order, no code generation.
//
// # A service
//
// A service is a plain struct of func fields that both sides share:
//
//	type Service struct {
//		Status func(context.Context, *StatusRequest) (*StatusResponse, error) // a call
//		Notify func(context.Context, *Event) error                            // one-way: no answer travels back
//		Trim   func(context.Context, *T) (*T, error) `rpc:"optional"`         // an older callee may not have it
//	}
//
// The callee registers a value whose exported methods fit, or a filled struct of funcs:
//
//	srv := rpc.NewServer(rpc.ServerOptions{AcceptConn: accept, Authorize: authorize})
//	err := rpc.Register(srv, "admin", impl, rpc.Contract(Service{}))
//	go srv.Serve(listener) // or srv.ServeConn(conn), also behind a listener that peeked at the first bytes (rpc.Magic)
//
// The caller fills a stub by reflection:
//
//	c, err := rpc.Dial(ctx, "node:2380", rpc.ClientOptions{Metadata: rpc.Metadata{"token": token}})
//	var svc Service
//	err = rpc.Bind(c, "admin", &svc)
//	resp, err := svc.Status(ctx, &StatusRequest{})
//
// NewPeer gives a connection that redials by itself (bounded backoff with jitter, the name resolved anew at each dial);
// Bind takes it as it takes a Client. A handler finds who calls with FromContext.
//
// # What it promises
//
//   - A context's deadline (as remaining time, so that clocks need not agree) and its cancellation travel to the handler.
//   - A type with encoding.BinaryAppender and encoding.BinaryUnmarshaler is sent in its own encoding; both sides must then
//     have the same type name and WireVersion. UnmarshalBinary must copy what outlives the handler's return (what it keeps at
//     all, in an answer). All other types go as JSON: unknown and missing fields are fine, a field of another kind is refused.
//   - Services and types are compared when a stub is bound; a mismatch is an error then, never a panic later.
//   - Errors are *Error with a Code that survives the wire (errors.Is(err, rpc.CodeUnavailable)); NotSent tells "the handler
//     surely never ran" from "outcome unknown".
//   - One-way calls of one connection reach the handler one after another in the order in which they were sent. Services
//     registered Inline run on the reading goroutine: no goroutine switch, and they must not block.
//   - Every frame has a CRC32C and a size limit, exchanged at the handshake; every queue is bounded in frames and bytes. A full
//     queue blocks until the context ends; with TrySend(ctx) it fails at once with CodeExhausted.
//   - A silent peer is found by pings within ClientOptions.IdleTimeout.
//   - Close and Shutdown leave no goroutine behind.
//
// # What it does not
//
// No encryption (hand it a TLS net.Conn by Dialer or listener), no retries (only the caller knows what may run twice), no
// streams (a stream is a series of calls), no recovery from a handler's panic: that is a bug and ends the process.
package rpc
