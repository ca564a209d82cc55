package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"k8s.io/streaming/pkg/httpstream"
)

const (
	// maxTroubleBytes bounds what is read of an error from the pod.
	maxTroubleBytes = 4 << 10
	// troubleWait is how long the end of a connection is held back for the words on why.
	troubleWait = time.Second
)

// conn is one forwarded connection. A pipe stands between the caller and the stream, since streams have no deadlines.
type conn struct {
	net.Conn // the caller's end of the pipe
	what     string
	told     chan struct{} // closed when the pod will say no more of what went wrong
	trouble  string
}

func newConn(link httpstream.Connection, trouble io.Reader, data io.ReadWriteCloser, what string) net.Conn {
	near, far := net.Pipe()
	c := &conn{Conn: near, what: what, told: make(chan struct{})}
	go func() {
		defer close(c.told)
		text, _ := io.ReadAll(io.LimitReader(trouble, maxTroubleBytes)) // it ends with the connection at the latest
		if c.trouble = strings.TrimSpace(string(text)); c.trouble != "" {
			_ = far.Close()
		}
	}()
	go func() {
		_, _ = io.Copy(far, data) // whatever ends it ends the connection
		_ = far.Close()
	}()
	go func() {
		_, _ = io.Copy(data, far)
		_ = data.Close()
		c.awaitTold() // what the pod still says would go with the link
		_ = link.Close()
	}()
	return c
}

// Read says why the pod ended the connection, if it said so.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		if c.awaitTold() && c.trouble != "" {
			err = fmt.Errorf("%s: %s", c.what, c.trouble)
		}
	}
	return n, err
}

// awaitTold waits for the pod to have said what went wrong, for troubleWait at most, and tells whether it has.
func (c *conn) awaitTold() bool {
	wait := time.NewTimer(troubleWait)
	defer wait.Stop()
	select {
	case <-c.told:
		return true
	case <-wait.C:
		return false
	}
}
