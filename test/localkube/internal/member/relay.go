package member

import (
	"io"
	"net"
	"sync"
	"time"
)

const dialTimeout = 5 * time.Second

// relay copies both ways between a connection and a new one to the address, until both sides have said all they have.
func relay(outside net.Conn, to string) {
	defer outside.Close()
	inside, err := net.DialTimeout("tcp", to, dialTimeout)
	if err != nil {
		// The caller sees its connection closed, as with a server that is not up yet.
		return
	}
	defer inside.Close()
	var both sync.WaitGroup
	both.Go(func() { copyAndClose(inside, outside) })
	both.Go(func() { copyAndClose(outside, inside) })
	both.Wait()
}

// copyAndClose passes the end of the stream on too: port-forward and exec close one direction and go on reading.
func copyAndClose(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(*net.TCPConn)
	if err != nil || !ok {
		_ = to.Close()
		return
	}
	_ = half.CloseWrite()
}
