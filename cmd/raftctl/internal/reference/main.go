// Command reference writes docs/reference/raftctl.md from raftctl's commands; hack/generate.sh runs it.
package main

import (
	"fmt"
	"os"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/command"
)

func main() {
	if err := command.WriteReference(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "write the reference of raftctl:", err)
		os.Exit(1)
	}
}
