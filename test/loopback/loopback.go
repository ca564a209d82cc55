// Package loopback gives tests the addresses at which their servers listen. An address belongs to one server of one process for good: no
// test that runs beside it is given the same, and a server that comes back finds its own free. What it does not do is open them.
package loopback

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
)

// firstPort is below the ports that the kernel gives to connections and to listeners that leave the choice to it.
const firstPort = 20_000

// lastPort counts the ports that were given away.
var lastPort atomic.Uint32

// Address returns an address, host and port, that nobody else is given. A port that a listener was given by the kernel and has let go won't
// do: the next listener, of this process or another, may get it, and with a few dozen of them in a test that happens within some hundred runs.
//
// All of 127.0.0.0/8 is the machine itself on Linux, so each process has an IP address of its own there. Elsewhere it is a port that was free.
func Address() (string, error) {
	if runtime.GOOS != "linux" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		return l.Addr().String(), l.Close()
	}
	pid := uint32(os.Getpid()) // of 22 bits
	ip := net.IPv4(127, byte(64|pid>>16&63), byte(pid>>8), byte(pid))
	return net.JoinHostPort(ip.String(), strconv.Itoa(firstPort+int(lastPort.Add(1)))), nil
}

// MustAddress is Address for a test, which ends where there is none.
func MustAddress(t testing.TB) string {
	t.Helper()
	a, err := Address()
	if err != nil {
		t.Fatal(err)
	}
	return a
}
