//go:build linux

package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// link is the state of the way from one node to another; it concerns the bytes that go that way, on whosever connection.
type link struct {
	// cut ends connections in both directions and lets none begin.
	cut bool
	// stalled lets bytes wait, as a network that drops all packets does until it is back.
	stalled bool
	delay   time.Duration
}

// network stands between the members: each one's advertised peer address is a door of it.
type network struct {
	t *testing.T
	// pid tells the process of a node, or 0.
	pid func(index int) int

	mu      sync.Mutex
	links   map[[2]int]link
	changed chan struct{} // closed and replaced at each change
	doors   map[int]*door
	closed  bool

	running sync.WaitGroup
}

// door is where the others reach one node.
type door struct {
	network  *network
	index    int
	address  string
	target   string
	listener net.Listener
	wires    map[*wire]bool
}

// wire is one connection that was let through.
type wire struct {
	from, to     int // the node that dialed, and the one that was dialed
	near, far    *net.TCPConn
	closed       chan struct{}
	closedByOnce sync.Once
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, links: map[[2]int]link{}, changed: make(chan struct{}), doors: map[int]*door{}}
}

// add makes a door, which is shut until open.
func (n *network) add(index int, address, target string) {
	n.doors[index] = &door{network: n, index: index, address: address, target: target, wires: map[*wire]bool{}}
}

// open lets connections to a node begin; its port is closed otherwise, as that of a dead process.
func (n *network) open(index int) {
	n.t.Helper()
	d := n.doors[index]
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.listener != nil || n.closed {
		return
	}
	var err error
	if d.listener, err = net.Listen("tcp", d.address); err != nil {
		n.t.Fatalf("open a door: %v", err)
	}
	l := d.listener
	n.running.Go(func() { d.serve(l) })
}

// shut closes the port.
func (n *network) shut(index int) {
	d := n.doors[index]
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.listener != nil {
		_ = d.listener.Close()
		d.listener = nil
	}
}

// set changes the ways between nodes; each pair is from and to.
func (n *network) set(l link, pairs ...[2]int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range pairs {
		n.links[p] = l
	}
	n.announce()
}

// heal makes all ways good.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.links)
	n.announce()
}

// announce needs the lock. Connections that a cut concerns end.
func (n *network) announce() {
	close(n.changed)
	n.changed = make(chan struct{})
	for _, d := range n.doors {
		for w := range d.wires {
			if n.isCut(w.from, w.to) {
				w.close()
			}
		}
	}
}

func (n *network) isCut(a, b int) bool { return n.links[[2]int{a, b}].cut || n.links[[2]int{b, a}].cut }

func (n *network) close() {
	n.mu.Lock()
	n.closed = true
	for _, d := range n.doors {
		if d.listener != nil {
			_ = d.listener.Close()
		}
		for w := range d.wires {
			w.close()
		}
	}
	n.mu.Unlock()
	n.running.Wait()
}

func (d *door) serve(l net.Listener) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		d.network.running.Go(func() { d.connect(near.(*net.TCPConn)) })
	}
}

// connect finds out who dialed, and carries bytes until both sides have ended.
func (d *door) connect(near *net.TCPConn) {
	n := d.network
	defer near.Close()
	from, known := n.dialer(near.RemoteAddr().String(), near.LocalAddr().String())
	if !known {
		return // it has died since
	}
	far, err := net.DialTimeout("tcp", d.target, patience)
	if err != nil {
		return
	}
	defer far.Close()
	w := &wire{from: from, to: d.index, near: near, far: far.(*net.TCPConn), closed: make(chan struct{})}
	n.mu.Lock()
	if n.closed || n.isCut(w.from, w.to) {
		n.mu.Unlock()
		return
	}
	d.wires[w] = true
	n.mu.Unlock()
	var pumps sync.WaitGroup
	pumps.Go(func() { n.pump(w, w.near, w.far, [2]int{w.from, w.to}) })
	pumps.Go(func() { n.pump(w, w.far, w.near, [2]int{w.to, w.from}) })
	pumps.Wait()
	w.close()
	n.mu.Lock()
	delete(d.wires, w)
	n.mu.Unlock()
}

func (w *wire) close() {
	w.closedByOnce.Do(func() {
		close(w.closed)
		_ = w.near.Close()
		_ = w.far.Close()
	})
}

// pump carries bytes one way, and then that there are no more.
func (n *network) pump(w *wire, from, to *net.TCPConn, way [2]int) {
	const bufferBytes = 32 << 10
	buffer := make([]byte, bufferBytes)
	for {
		count, err := from.Read(buffer)
		if !n.pass(w, way) {
			return
		}
		if _, writeErr := to.Write(buffer[:count]); writeErr != nil {
			return
		}
		if err != nil {
			_ = to.CloseWrite()
			return
		}
	}
}

// pass waits until bytes may go that way; false means that the connection has ended.
func (n *network) pass(w *wire, way [2]int) bool {
	for {
		n.mu.Lock()
		l, changed := n.links[way], n.changed
		n.mu.Unlock()
		if !l.stalled && l.delay == 0 {
			return true
		}
		var late <-chan time.Time
		if !l.stalled {
			late = time.After(l.delay)
		}
		select {
		case <-late:
			return true
		case <-changed:
		case <-w.closed:
			return false
		}
	}
}

// dialer tells which node holds the other end of a connection, by the tables of the kernel.
func (n *network) dialer(remote, local string) (int, bool) {
	inode, err := inodeOf(remote, local)
	if err != nil {
		return 0, false
	}
	for i := range n.doors {
		if pid := n.pid(i); pid != 0 && holds(pid, inode) {
			return i, true
		}
	}
	return 0, false
}

// inodeOf finds the socket that is bound to local and connected to remote.
func inodeOf(local, remote string) (string, error) {
	wantLocal, err := kernelAddress(local)
	if err != nil {
		return "", err
	}
	wantRemote, err := kernelAddress(remote)
	if err != nil {
		return "", err
	}
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		const localField, remoteField, inodeField = 1, 2, 9
		fields := strings.Fields(lines.Text())
		if len(fields) > inodeField && fields[localField] == wantLocal && fields[remoteField] == wantRemote {
			return fields[inodeField], nil
		}
	}
	return "", io.EOF
}

// kernelAddress is how /proc/net/tcp writes an address: the bytes of an IPv4 address in the machine's order, the port in hex.
func kernelAddress(text string) (string, error) {
	a, err := net.ResolveTCPAddr("tcp4", text)
	if err != nil {
		return "", err
	}
	ip := a.IP.To4()
	if ip == nil || !ip.IsLoopback() {
		return "", errors.New("not an address of the loopback interface")
	}
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port), nil
}

// holds tells whether a process has the socket open.
func holds(pid int, inode string) bool {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, f := range files {
		if target, err := os.Readlink(f); err == nil && target == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}
