//go:build !linux

// Command localkube runs a Kubernetes of several nodes on one Linux machine; elsewhere it says so.
package main

import (
	"fmt"
	"os"
	"runtime"
)

// exitUnfit says that this machine cannot host a cluster; it is the same code on Linux.
const exitUnfit = 3

func main() {
	fmt.Fprintf(os.Stderr, "localkube: this machine runs %s, and a local Kubernetes needs Linux.\n%s\n", runtime.GOOS, alternatives)
	os.Exit(exitUnfit)
}
