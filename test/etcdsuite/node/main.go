// Command node is what etcd's tests start as bin/etcd: raftkv-node, which lies beside it, with what it was given, but for sockets between members, which raftkv
// has not.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// program is the node's, in the directory of this one.
const program = "raftkv-node"

func main() {
	self, err := os.Executable()
	if err == nil {
		path := filepath.Join(filepath.Dir(self), program)
		err = syscall.Exec(path, append([]string{path}, members(os.Args[1:])...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
