module github.com/raftkv/raftkv/test/powerloss

go 1.26.0

replace github.com/raftkv/raftkv => ../..

require (
	github.com/hanwen/go-fuse/v2 v2.12.1
	github.com/raftkv/raftkv v0.0.0-00010101000000-000000000000
)

require (
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
