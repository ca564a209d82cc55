// Package secure puts TLS before the node's ports and between members: with the certificate and the authorities of files that may be replaced while the
// node runs.
//
// Files are looked at with every handshake and read again when they have changed. As long as new ones are of no use, because only one of a pair
// is there yet or one is broken, the old ones stay in use, and the log says so.
//
// Members show each other certificates in both directions. Who is dialled must show one for the host of its address; who connects must come from an address that its
// certificate names, if it names any, as with etcd. A connection that stands is not looked at again: an authority that is taken away, or a list of revoked certificates,
// counts from the next handshake on.
//
// The package promises that a handshake which fails costs its connection and a bounded number of log lines. It does not bound the time and the
// number of handshakes: whoever reads the first bytes of its connections does.
package secure
