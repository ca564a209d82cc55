// Command raftctl works with raftkv from the command line: keys, nodes, and clusters in Kubernetes. Under the name kubectl-raftkv it is a plugin of kubectl.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/command"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Run(ctx, command.Environment{
		Name: filepath.Base(os.Args[0]), Version: version,
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv,
	}, os.Args[1:])
	stop()
	os.Exit(code)
}
