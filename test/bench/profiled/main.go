// Command profiled is raftkv-node with Go's profiles at the address in PROFILE_ADDRESS. The product has no such door; the
// benchmark runs this instead of it when it is asked for a profile.
package main

import (
	"context"
	"fmt"
	"net/http"
	_ "net/http/pprof" // registers /debug/pprof
	"os"
	"os/signal"
	"syscall"

	"github.com/raftkv/raftkv/server"
	"github.com/raftkv/raftkv/server/config"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "profiled: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	flags := config.Flags()
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	cfg, err := config.Load(flags, os.Environ())
	if err != nil {
		return err
	}
	profiles := make(chan error, 1)
	go func() { profiles <- http.ListenAndServe(os.Getenv("PROFILE_ADDRESS"), nil) }()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	node := make(chan error, 1)
	go func() { node <- server.Run(ctx, cfg, server.Options{Version: "profiled"}) }()
	select {
	case err := <-profiles:
		return err
	case err := <-node:
		return err
	}
}
