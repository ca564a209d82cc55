// Package native is the front end of the native protocol, which package client speaks: client/wire has its messages, package rpc carries them.
//
// Writes come in batches, and a batch is proposed and waited for as one, whoever its operations belong to; each stands for itself all the same.
// Clients number their writes in sessions of their own, which the state machine keeps, so that a repeat through any node is
// recognised. What belongs to a connection, its watches and snapshots, ends with it. This package translates, and decides nothing.
package native
