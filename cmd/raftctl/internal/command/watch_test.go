package command

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// following is a command that goes on until it is stopped, and the lines that it writes.
type following struct {
	t     *testing.T
	lines *bufio.Scanner
	stop  context.CancelFunc
	code  chan int
	err   *strings.Builder
}

func follow(t *testing.T, env map[string]string, arguments ...string) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	reader, writer := io.Pipe()
	f := &following{t: t, lines: bufio.NewScanner(reader), stop: cancel, code: make(chan int, 1), err: new(strings.Builder)}
	go func() {
		code := Run(ctx, Environment{Name: "raftctl", Version: "test", In: strings.NewReader(""), Out: writer, Err: f.err, Getenv: func(n string) string { return env[n] }}, arguments)
		_ = writer.Close()
		f.code <- code
	}()
	return f
}

func (f *following) line() string {
	f.t.Helper()
	if !f.lines.Scan() {
		f.t.Fatalf("no line came: exit code %d, %s", <-f.code, f.err)
	}
	return f.lines.Text()
}

func TestWatch(t *testing.T) {
	type event struct {
		Type, Key, Value, Revision string
		Prev                       *struct{ Value string }
	}
	env := map[string]string{EnvEndpoints: nodes(t)[0].client}
	first := decode[struct{ Revision string }](t, raftctl(t, "put", "watch/a", "1", "-o", "json")).Revision
	raftctl(t, "put", "watch/a", "2")
	raftctl(t, "del", "watch/a")

	w := follow(t, env, "--timeout=60s", "watch", "--prefix", "watch/", "--revision", first, "--prev", "-o", "json")
	var got []event
	for range 3 {
		var e event
		if err := json.Unmarshal([]byte(w.line()), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if got[0].Type != "PUT" || got[0].Value != "1" || got[0].Revision != first || got[0].Prev != nil ||
		got[1].Value != "2" || got[1].Prev == nil || got[1].Prev.Value != "1" || got[2].Type != "DELETE" || got[2].Key != "watch/a" || got[2].Prev.Value != "2" {
		t.Errorf("from the past: %+v", got)
	}
	raftctl(t, "put", "watch/b", "now")
	if l := w.line(); !strings.Contains(l, `"key":"watch/b"`) {
		t.Errorf("what comes: %s", l)
	}
	w.stop()
	if code := <-w.code; code != ExitOK {
		t.Errorf("a watch that is stopped ends with %d: %s", code, w.err)
	}

	if out := number.ReplaceAllString(raftctl(t, "watch", "--prefix", "watch/", "--revision", first, "--events", "1", "--no-puts"), "N"); out != "DELETE N watch/a\n" {
		t.Errorf("deletions only: %q", out)
	}
	if lines := strings.Split(raftctl(t, "watch", "watch/a", "--revision", first, "--events", "3"), "\n"); len(lines) != 4 ||
		number.ReplaceAllString(lines[0], "N") != "PUT N watch/a N" || number.ReplaceAllString(lines[2], "N") != "DELETE N watch/a" {
		t.Errorf("for people: %q", lines)
	}
	raftctl(t, "del", "--prefix", "watch/")
}

func TestKeepAliveEndsWithItsLease(t *testing.T) {
	env := map[string]string{EnvEndpoints: nodes(t)[0].client}
	raftctl(t, "lease", "grant", "9s", "--id", "abc")
	k := follow(t, env, "--timeout=60s", "lease", "keep-alive", "abc")
	if l := k.line(); l != "lease abc renewed for 9s" {
		t.Errorf("it says %q", l)
	}
	raftctl(t, "lease", "revoke", "abc")
	if code := <-k.code; code != ExitNotFound {
		t.Errorf("it ends with %d: %s", code, k.err)
	}
}
