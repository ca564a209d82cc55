// Package client is the Go client of raftkv. It speaks the native protocol on the nodes' client port.
//
//	c, err := client.Open(client.Config{Endpoints: []string{"demo.default.svc:2379"}})
//	result, err := c.Put(ctx, "greeting", []byte("hello"))
//	found, err := c.Get(ctx, "greeting")
//
// # What it promises
//
//   - It finds the members by any one of them, sends writes and linearizable reads to the leader, and asks another member when one does not
//     answer. Serializable reads are spread over all members.
//   - A write is carried out at most once, whatever is lost on the way: the client numbers its writes in a session that the
//     cluster keeps (thesis §6.3), and asks again, anywhere, until it has the answer or the context ends. Then, or when the session was
//     given up by the cluster meanwhile, the error is ErrUnknown; every other error says for sure that nothing was done, but for ErrResultLost,
//     which says that it was.
//   - A watch neither misses nor repeats an event, through the loss of nodes and changes of leaders, or it ends with a *CompactedError. It leaves a node that
//     has known no leader for a while, which may be cut off from the others. A slow consumer costs bounded memory and holds nobody up.
//   - Calls that wait at the same time share messages, so that many callers need few connections.
//   - Every queue is bounded; past a bound callers wait as long as their contexts allow.
//
// A Client is safe for concurrent use; a program needs one. Its connections are made when they are needed, and made again when they are lost.
package client
