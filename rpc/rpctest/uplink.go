package rpctest

import (
	"net"
	"sync"
	"time"
)

const (
	// uplinkPieceBytes is what an Uplink sends at once.
	uplinkPieceBytes = 4 << 10
	// uplinkBufferPieces is how many pieces an Uplink takes before Write blocks: 4 MiB of full ones, as much as a kernel does.
	uplinkBufferPieces = 1024
)

// uplink is a connection whose way out is slow.
type uplink struct {
	net.Conn
	bytesPerSecond int
	pieces         chan []byte
	closing        sync.Once
	closed         chan struct{}
}

// Uplink makes the way out of a connection slow. As on a real one, Write returns as soon as a buffer has taken the bytes, which tells nothing of where
// they are. It waits by the clock alone, and so takes no time in a bubble of testing/synctest.
func Uplink(conn net.Conn, bytesPerSecond int) net.Conn {
	u := &uplink{Conn: conn, bytesPerSecond: bytesPerSecond, pieces: make(chan []byte, uplinkBufferPieces), closed: make(chan struct{})}
	go u.pump()
	return u
}

func (u *uplink) Write(p []byte) (n int, err error) {
	for n < len(p) {
		piece := append([]byte(nil), p[n:min(n+uplinkPieceBytes, len(p))]...)
		select {
		case u.pieces <- piece:
			n += len(piece)
		case <-u.closed:
			return n, net.ErrClosed
		}
	}
	return n, nil
}

func (u *uplink) pump() {
	for {
		select {
		case <-u.closed:
			return
		case piece := <-u.pieces:
			if !u.wait(time.Duration(len(piece)) * time.Second / time.Duration(u.bytesPerSecond)) {
				return
			}
			if _, err := u.Conn.Write(piece); err != nil {
				_ = u.Close() // Write's callers see that
				return
			}
		}
	}
}

func (u *uplink) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-u.closed:
		return false
	}
}

// Close drops what is under way.
func (u *uplink) Close() error {
	err := net.ErrClosed
	u.closing.Do(func() {
		close(u.closed)
		err = u.Conn.Close()
	})
	return err
}
