// Package rpctest is a leaky network for tests of what runs over a net.Conn: seeded delay, cuts, damaged bits, stalls and one-way
// black holes. TCP hides loss by sending again; what an application sees of a lost packet is a delay, or in the end a cut
// connection, and that is what is injected here. The same seed and the same order of writes give the same faults.
package rpctest
