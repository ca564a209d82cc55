package tunnel

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// connectTimeout bounds the connection to the API server, which cannot be cancelled once it has begun.
const connectTimeout = 15 * time.Second

// Dialer connects to pods of one Kubernetes cluster. It is safe for concurrent use.
type Dialer struct {
	config *rest.Config
	pods   rest.Interface
}

// New makes a Dialer; pods is a client of the core group. The user needs the right to create pods/portforward.
func New(config *rest.Config, pods rest.Interface) *Dialer {
	config = rest.CopyConfig(config)
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: connectTimeout}).DialContext
	}
	return &Dialer{config: config, pods: pods}
}

// Dial connects to a TCP port of a pod. That the port is refused shows at the first read.
func (d *Dialer) Dial(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	address := d.pods.Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer, err := d.upgrader(address)
	if err != nil {
		return nil, err
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := open(dialer, pod, port)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				_ = r.conn.Close() // nobody waits for it any more
			}
		}()
		return nil, fmt.Errorf("forward to port %d of pod %s: %w", port, pod, ctx.Err())
	}
}

func (d *Dialer) upgrader(address *url.URL) (httpstream.Dialer, error) {
	transport, upgrader, err := spdy.RoundTripperFor(d.config)
	if err != nil {
		return nil, err
	}
	overSPDY := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, address)
	overWebSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(address, d.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(overWebSocket, overSPDY, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

func open(dialer httpstream.Dialer, pod string, port int) (net.Conn, error) {
	link, protocol, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, fmt.Errorf("forward to port %d of pod %s: %w", port, pod, err)
	}
	if protocol != portforward.PortForwardProtocolV1Name {
		_ = link.Close()
		return nil, fmt.Errorf("forward to port %d of pod %s: the API server speaks %q, raftctl %q", port, pod, protocol, portforward.PortForwardProtocolV1Name)
	}
	// One connection has a pair of streams: what goes wrong in the pod comes on the first, the bytes on the second.
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	trouble, err := link.CreateStream(headers)
	if err != nil {
		_ = link.Close()
		return nil, fmt.Errorf("forward to port %d of pod %s: %w", port, pod, err)
	}
	_ = trouble.Close() // this side says nothing on it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := link.CreateStream(headers)
	if err != nil {
		_ = link.Close()
		return nil, fmt.Errorf("forward to port %d of pod %s: %w", port, pod, err)
	}
	return newConn(link, trouble, data, fmt.Sprintf("port %d of pod %s", port, pod)), nil
}
