// Package etcdclients proves that programs made for etcd run on raftkv by changing an address: etcd's own Go client with all the packages that
// it brings, etcdctl, and etcd's benchmark speak to clusters of real raftkv-node processes. It is a module of its own, so that
// etcd's client and tools stay out of the product.
package etcdclients
