package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/test/localkube/internal/member"
)

// networkOnly enters a member's network and nothing else: programs and files stay the machine's.
var networkOnly = []string{"--net"}

// wholeMember enters everything that a member has of its own.
var wholeMember = []string{"--mount", "--uts", "--ipc", "--net", "--pid"}

// EnterCommand is the command line that runs args inside of a member.
func EnterCommand(p member.Process, args []string) []string { return enter(p, wholeMember, args) }

func enter(p member.Process, namespaces, args []string) []string {
	line := append([]string{"nsenter", "--target", strconv.Itoa(p.PID)}, namespaces...)
	return append(append(line, "--"), args...)
}

// inside runs a command in a member's namespaces and returns its output; an error carries what the command said.
func inside(ctx context.Context, p member.Process, namespaces []string, input io.Reader, args ...string) (string, error) {
	line := enter(p, namespaces, args)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Stdin = input
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s in %s: %w: %s", args[0], p.Member, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// ipBatch gives a member's network the lines of render's network files.
func ipBatch(ctx context.Context, p member.Process, lines string) error {
	_, err := inside(ctx, p, networkOnly, strings.NewReader(lines), "ip", "-batch", "-")
	return err
}
