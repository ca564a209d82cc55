package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/tunnel/tunneltest"
)

// patience bounds what a test waits for.
const patience = 60 * time.Second

func dialer(t *testing.T, handler http.Handler) *Dialer {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL}
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return New(config, core.RESTClient())
}

// echo answers every connection with what it says.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func TestAConnectionCarriesBytesBothWaysAndHasDeadlines(t *testing.T) {
	address := echo(t)
	d := dialer(t, tunneltest.Handler(t, func(namespace, pod string, port int) (string, error) {
		if namespace != "shop" || pod != "demo-1" || port != 2379 {
			return "", fmt.Errorf("asked for %s/%s:%d", namespace, pod, port)
		}
		return address, nil
	}))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 2 {
		c, err := d.Dial(ctx, "shop", "demo-1", 2379)
		if err != nil {
			t.Fatal(err)
		}
		message := strings.Repeat("all of it ", 100_000)
		go func() { _, _ = io.WriteString(c, message) }()
		got := make([]byte, len(message))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != message {
			t.Fatalf("%d of %d bytes, %v", len(got), len(message), err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read past its deadline: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatThePodRefusesIsSaid(t *testing.T) {
	d := dialer(t, tunneltest.Handler(t, func(string, string, int) (string, error) { return "", errors.New("nothing listens there") }))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := d.Dial(ctx, "shop", "demo-1", 2379)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "port 2379 of pod demo-1: nothing listens there") {
		t.Errorf("the first read says %v", err)
	}
}

func TestWhatTheAPIServerRefusesIsSaid(t *testing.T) {
	d := dialer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such pod", http.StatusNotFound) }))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := d.Dial(ctx, "shop", "demo-1", 2379); err == nil || !strings.Contains(err.Error(), "no such pod") {
		t.Errorf("the error is %v", err)
	}
}

func TestADialEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	d := dialer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Dial(ctx, "shop", "demo-1", 2379); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
