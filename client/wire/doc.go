// Package wire is the native protocol: what package client and the front end server/native say to each other over package rpc. It
// holds messages and their encodings, and decides nothing.
//
// Writes and reads of single keys travel in batches, since most of what a small request costs is paid once for each message:
// encoded by hand, without reflection. What is seldom asked travels as JSON. A message with an encoding of its own has a version
// (rpc.WireVersioner), which the two sides compare when they meet; decoders take any bytes, allocate in proportion to what
// came and never more than the named bounds allow.
package wire
