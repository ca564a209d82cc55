package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

const usage = `images builds raftkv's container images without a container engine.

  images build --version V [--arch amd64] --out FOLDER
        compile for one architecture and write FOLDER/node.tar and FOLDER/operator.tar
  images push --version V [--arch amd64,arm64] --registry HOST[/PATH]
        compile for each architecture and push one multi-arch image for each program;
        credentials are those that "docker login" stored
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("give a command\n%s", usage)
	}
	switch command, rest := args[0], args[1:]; command {
	case "build":
		return runBuild(ctx, rest, out)
	case "push":
		return runPush(ctx, rest, out)
	case "help", "-h", "--help":
		_, err := io.WriteString(out, usage)
		return err
	default:
		return fmt.Errorf("unknown command %q\n%s", command, usage)
	}
}

func runBuild(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	source := flags.String("source", ".", "folder of the module github.com/raftkv/raftkv")
	version := flags.String("version", "", "version compiled into the programs, and the images' tag")
	arch := flags.String("arch", runtime.GOARCH, "architecture to build for")
	folder := flags.String("out", "build/images", "folder for node.tar and operator.tar")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version == "" {
		return errors.New("build needs --version")
	}
	if err := os.MkdirAll(*folder, 0o755); err != nil {
		return err
	}
	for _, program := range programs {
		image, err := compileImage(ctx, *source, program, *version, *arch)
		if err != nil {
			return err
		}
		report, err := writeArchive(program, image, *version, *folder)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, report)
	}
	return nil
}

func runPush(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("push", flag.ContinueOnError)
	source := flags.String("source", ".", "folder of the module github.com/raftkv/raftkv")
	version := flags.String("version", "", "version compiled into the programs, and the images' tag")
	arches := flags.String("arch", "amd64,arm64", "architectures to build for, separated by commas")
	registry := flags.String("registry", "", "registry, with a path where it has one: ghcr.io/me")
	insecure := flags.Bool("insecure", false, "the registry speaks HTTP, or HTTPS with a certificate that nobody vouches for")
	repositories := make(map[string]*string)
	for _, program := range programs {
		repositories[program.name] = flags.String(program.name+"-repository", program.repository,
			"repository of the "+program.name+" image inside the registry")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version == "" || *registry == "" {
		return errors.New("push needs --version and --registry")
	}
	for _, program := range programs {
		target := strings.TrimSuffix(*registry, "/") + "/" + *repositories[program.name] + ":" + *version
		pinned, err := pushProgram(ctx, *source, program, *version, strings.Split(*arches, ","), target, *insecure)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "pushed %s (%s)\n", pinned, *arches)
	}
	return nil
}
