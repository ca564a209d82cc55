package member

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestSpecSurvivesItsFile(t *testing.T) {
	work := t.TempDir()
	want := Spec{
		Name: "node-1", Work: work, LogDir: work, StatusFile: work + "/s", PrivateRun: true,
		PrivateFolders: map[string]string{"/var/lib": work + "/lib"},
		Programs: []Program{{
			Name: "kubelet", Path: "/bin/kubelet", Args: []string{"--x"}, Once: true,
			Needs: Probe{URL: "https://10.0.0.1/readyz", CAFile: "/ca"}, Ready: Probe{Socket: "/s"},
		}},
	}
	if err := WriteSpec(SpecFile(work, "node-1"), want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSpec(SpecFile(work, "node-1"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; wrote %+v", got, err, want)
	}
}

// TestOnlyInitProcessesAreTakenForMembers guards what down may kill: a process that merely inherited the mark, as a shell
// inside of a node would, is not one.
func TestOnlyInitProcessesAreTakenForMembers(t *testing.T) {
	work := t.TempDir()
	sleeper := exec.Command("sleep", "60")
	sleeper.Env = []string{mark + "=" + markOf(work, "node-1")}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	}()
	if found, err := Find(work); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
	if err := Kill(work, []Process{{Member: "node-1", PID: sleeper.Process.Pid}}); err != nil {
		t.Error(err)
	}
	if err := sleeper.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a process that is no member was killed: %v", err)
	}
}

// TestOnlyProgramsOfTheMemberAreKilled: what they started, and what has the same name elsewhere, is let alone.
func TestOnlyProgramsOfTheMemberAreKilled(t *testing.T) {
	parent := Process{Member: "control", PID: os.Getpid()}
	start := func(name string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command("sleep", "60")
		cmd.Args[0] = name
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd
	}
	other, target := start("store-1"), start("store-2")
	if err := KillChild(Process{Member: "node-1", PID: 1}, "store-2"); err == nil || !strings.Contains(err.Error(), "no program") {
		t.Errorf("a program of another member: %v", err)
	}
	if err := KillChild(parent, "store-2"); err != nil {
		t.Fatal(err)
	}
	if err := target.Wait(); err == nil {
		t.Error("the program ended by itself")
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another program was killed: %v", err)
	}
	if err := KillChild(parent, "store-2"); err == nil {
		t.Error("a program that has ended was killed again")
	}
}

// TestAProgramThatEndsAgainAndAgainDoesNotHoldBackAnother keeps the store's quorum: one member that cannot start must not keep another
// one, which was killed, from coming back.
func TestAProgramThatEndsAgainAndAgainDoesNotHoldBackAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(Spec{StatusFile: filepath.Join(t.TempDir(), "status"), Programs: make([]Program, 2)}, slog.New(slog.DiscardHandler), nil)
		pause := func(program int, ran time.Duration) time.Duration {
			began := time.Now()
			m.ended(end{program: program, how: "was killed", ran: ran})
			if due := <-m.due; due != program {
				t.Fatalf("program %d starts, want %d", due, program)
			}
			return time.Since(began)
		}
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 20, 20} {
			if got := pause(0, 0); got != want*500*time.Millisecond {
				t.Errorf("start %d after %v", i+1, got)
			}
		}
		if got := pause(1, 0); got != firstRestartPause {
			t.Errorf("the other one waits %v", got)
		}
		if got := pause(0, time.Hour); got != firstRestartPause {
			t.Errorf("after a long run it waits %v", got)
		}
		if m.status.Failures == 0 || m.status.LastFailure == "" {
			t.Errorf("nobody is told: %+v", m.status)
		}
	})
}

func TestProbeWaitsUntilTheServerSaysYes(t *testing.T) {
	answers := make(chan int, 3)
	answers <- http.StatusServiceUnavailable
	answers <- http.StatusForbidden
	answers <- http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(<-answers)
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	Probe{URL: server.URL}.wait(ctx)
	if ctx.Err() != nil || len(answers) != 0 {
		t.Errorf("the probe ended with %d answers left (%v)", len(answers), ctx.Err())
	}
}

func TestProbeOfASocketFailsUntilSomeoneListens(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if (Probe{Socket: socket}).try(context.Background()) {
		t.Fatal("a socket that does not exist answered")
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if !(Probe{Socket: socket}).try(context.Background()) {
		t.Error("a listening socket did not answer")
	}
}

// TestRelayPassesTheEndOfOneDirection is what kubectl exec and port-forward live on: the client is done sending, and the
// answer comes after that.
func TestRelayPassesTheEndOfOneDirection(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		all, err := io.ReadAll(conn) // ends only if the client's end of stream came through
		if err == nil {
			_, _ = conn.Write(append([]byte("got "), all...))
		}
	}()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	go func() {
		conn, err := front.Accept()
		if err == nil {
			relay(conn, server.Addr().String())
		}
	}()
	client, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(client); err != nil || string(answer) != "got hello" {
		t.Errorf("answer %q, %v", answer, err)
	}
}
