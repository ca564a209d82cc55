package node

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

const (
	breaksInvariant = "RAFTKV_TEST_BREAKS_INVARIANT"
	wentOn          = 7 // exit code
)

// TestABrokenInvariantEndsTheProgram lets a program break an invariant of the core on a goroutine that recovers, as those of
// net/http do, which may lend itself to a turn.
func TestABrokenInvariantEndsTheProgram(t *testing.T) {
	if os.Getenv(breaksInvariant) != "" {
		c := startCluster(t, 3, nil)
		recovered := make(chan struct{})
		go func() {
			defer close(recovered)
			defer func() { _ = recover() }()
			c.nodes[1].Deliver(raft.Message{Type: raft.MsgHeartbeat, From: 2, To: 1, Term: 1000, Commit: 1000})
		}()
		<-recovered
		_ = c.nodes[1].ReadBarrier(soon(t)) // another turn, which has to be the loop's if the one above was
		os.Exit(wentOn)
	}
	program := exec.Command(os.Args[0], "-test.run=^TestABrokenInvariantEndsTheProgram$")
	program.Env = append(os.Environ(), breaksInvariant+"=1")
	said, err := program.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() == wentOn {
		t.Fatalf("the program went on: %v", err)
	}
	if !bytes.Contains(said, []byte("broken invariant: commit index 1000")) || !bytes.Contains(said, []byte("takeNews")) {
		t.Fatalf("it ended otherwise:\n%s", said)
	}
}
