//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// restCaller speaks HTTP/1.1 on one connection that it keeps. Like wrk it understands no more than it must, because on one machine
// the time that the caller takes is missing to the store.
type restCaller struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
	out     []byte
	// deadline is what the connection has; to set the same again would cost each request a timer.
	deadline time.Time
}

func dialREST(address string) (*restCaller, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &restCaller{address: address, conn: conn, in: bufio.NewReader(conn)}, nil
}

func (c *restCaller) close() { _ = c.conn.Close() }

func (c *restCaller) put(ctx context.Context, key string, value []byte) error {
	c.begin("PUT", key, "")
	c.out = append(c.out, "Content-Length: "...)
	c.out = strconv.AppendInt(c.out, int64(len(value)), 10)
	c.out = append(c.out, "\r\n\r\n"...)
	c.out = append(c.out, value...)
	return c.exchange(ctx)
}

func (c *restCaller) get(ctx context.Context, key string, serializable bool) error {
	query := ""
	if serializable {
		query = "?serializable=true"
	}
	c.begin("GET", key, query)
	c.out = append(c.out, "\r\n"...)
	return c.exchange(ctx)
}

func (c *restCaller) begin(method, key, query string) {
	c.out = append(c.out[:0], method...)
	c.out = append(c.out, " /v1/kv/"...)
	c.out = append(c.out, key...)
	c.out = append(c.out, query...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: "...)
	c.out = append(c.out, c.address...)
	c.out = append(c.out, "\r\n"...)
}

var (
	statusOK      = []byte("HTTP/1.1 200")
	contentLength = []byte("Content-Length: ")
)

// exchange sends the request and reads the whole answer. After an error the connection is of no use any more.
func (c *restCaller) exchange(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, _ := ctx.Deadline(); !deadline.Equal(c.deadline) {
		if err := c.conn.SetDeadline(deadline); err != nil {
			return err
		}
		c.deadline = deadline
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(line, statusOK)
	status := ""
	if !ok {
		status = string(bytes.TrimSpace(line))
	}
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if rest, found := bytes.CutPrefix(line, contentLength); found {
			if length, err = strconv.Atoi(string(rest)); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("an answer without Content-Length: %s", status)
	}
	if ok {
		_, err = c.in.Discard(length)
		return err
	}
	problem, err := io.ReadAll(io.LimitReader(c.in, int64(length)))
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %s", status, problem)
}

// probeREST puts one key over a connection of its own.
func probeREST(ctx context.Context, address, key string, value []byte) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	c := &restCaller{address: address, conn: conn, in: bufio.NewReader(conn)}
	defer c.close()
	return c.put(ctx, key, value)
}
