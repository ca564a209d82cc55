// Command etcdsuite runs etcd's own end-to-end tests, of the version of go.mod, with raftkv-node in the place of etcd, beside etcd's own etcdctl
// and etcdutl. What is left out, and why, is in leftout.go and, for people, in docs/ETCD-COMPATIBILITY.md.
//
// It takes some ten minutes, the ports of localhost from 20000 on, and curl. -run and -suite choose tests. etcd's tests skip what comes after one
// that has failed: the first failure counts.
package main
