// Package tunneltest plays, in tests, the half of port-forwarding that the API server and a kubelet have: it takes SPDY upgrades and connects their
// streams to addresses of the test's choice. It speaks no WebSocket, so that a client has to fall back, as with an API server before 1.31.
package tunneltest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// Route says where a port of a pod is to be found; an error is what the pod answers.
type Route func(namespace, pod string, port int) (address string, err error)

var path = regexp.MustCompile(`^/api/v1/namespaces/([^/]+)/pods/([^/]+)/portforward$`)

// IsForward tells whether the request is for Handler.
func IsForward(r *http.Request) bool { return path.MatchString(r.URL.Path) }

// Handler serves pods/portforward. The test's end closes what is still open.
func Handler(t *testing.T, route Route) http.Handler {
	var connections sync.Map
	t.Cleanup(func() {
		connections.Range(func(c, _ any) bool { return c.(httpstream.Connection).Close() == nil })
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		match := path.FindStringSubmatch(r.URL.Path)
		if match == nil || r.Method != http.MethodPost {
			http.Error(w, "only SPDY is spoken here", http.StatusBadRequest)
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
			return
		}
		streams := make(chan httpstream.Stream, 2)
		link := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
		if link == nil {
			return
		}
		connections.Store(link, nil)
		defer connections.Delete(link)
		serve(link, streams, match[1], match[2], route)
	})
}

func serve(link httpstream.Connection, streams <-chan httpstream.Stream, namespace, pod string, route Route) {
	defer func() { _ = link.Close() }()
	var trouble, data httpstream.Stream
	for trouble == nil || data == nil {
		select {
		case s := <-streams:
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				trouble = s
			} else {
				data = s
			}
		case <-link.CloseChan():
			return
		}
	}
	port, err := strconv.Atoi(data.Headers().Get(corev1.PortHeader))
	if err == nil {
		err = join(data, namespace, pod, port, route)
	}
	if err != nil {
		fmt.Fprintf(trouble, "%v\n", err)
	}
	_ = trouble.Close()
	_ = data.Close()
	<-link.CloseChan()
}

func join(data httpstream.Stream, namespace, pod string, port int, route Route) error {
	address, err := route(namespace, pod, port)
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(conn, data)
		_ = conn.Close()
	}()
	_, _ = io.Copy(data, conn)
	return conn.Close()
}
