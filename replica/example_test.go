package replica_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/raftkv/raftkv/replica"
)

// register is a state machine: it holds the last text that it was given, and answers with the one before.
type register struct{ text []byte }

func (r *register) Apply(batch []replica.Command) [][]byte {
	var answers [][]byte
	for _, c := range batch {
		answers = append(answers, r.text)
		r.text = c.Data
	}
	return answers
}

func (r *register) Snapshot(w io.Writer) error {
	_, err := w.Write(r.text)
	return err
}

func (r *register) Restore(from io.Reader) (err error) {
	r.text, err = io.ReadAll(from)
	return err
}

// A cluster of one, which is enough to begin with: more replicas are given the same InitialCluster, or added later.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "replica")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	state := new(register)
	r, err := replica.Open(replica.Config{
		Dir: dir, Name: "a", Listeners: []net.Listener{l}, StateMachine: state,
		InitialCluster: []replica.Member{{Name: "a", PeerAddress: l.Addr().String()}},
	})
	if err != nil {
		panic(err)
	}
	for _, text := range []string{"hello", "world"} {
		before, err := r.Propose(ctx, []byte(text))
		fmt.Printf("%q was there, %v\n", before, err)
	}
	err = r.Read(ctx, func() { fmt.Printf("%q is there now\n", state.text) })
	fmt.Println(err, r.Stop(ctx))
	// Output:
	// "" was there, <nil>
	// "hello" was there, <nil>
	// "world" is there now
	// <nil> <nil>
}
