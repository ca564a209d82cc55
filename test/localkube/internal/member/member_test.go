package member

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
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

func TestProbeWaitsUntilTheServerSaysYes(t *testing.T) {
	answers := make(chan int, 3)
	answers <- http.StatusServiceUnavailable
	answers <- http.StatusForbidden
	answers <- http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(<-answers)
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
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
	if err := client.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
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
