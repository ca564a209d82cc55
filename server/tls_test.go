package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/test/certificates"
	"github.com/raftkv/raftkv/test/loopback"
)

// secured starts a cluster of one that serves clients with TLS, and knows of no admin token.
func secured(t *testing.T, urls string, more ...string) (*instance, *certificates.Authority, certificates.Pair) {
	t.Helper()
	ca := certificates.New(t, "ca")
	i := newInstance(t, "a")
	p := ca.Issue(t, t.TempDir(), "node", i.client, i.metrics)
	i.flags = append([]string{"--initial-cluster=a=http://" + i.peer, "--admin-token-file=", "--cert-file=" + p.CertFile, "--key-file=" + p.KeyFile,
		"--listen-client-urls=" + strings.ReplaceAll(urls, "CLIENT", i.client)}, more...)
	i.start()
	i.awaitReady()
	return i, ca, p
}

// webAnswer is one of HTTP, with the name in the server's certificate.
type webAnswer struct {
	version, status int
	server, text    string
}

// web asks by HTTP/1 or 2.
func web(t *testing.T, method, url, body string, version int, how *tls.Config) (webAnswer, error) {
	t.Helper()
	how = how.Clone() // the transport changes it
	transport := &http.Transport{TLSClientConfig: how, Protocols: new(http.Protocols)}
	defer transport.CloseIdleConnections()
	transport.Protocols.SetHTTP1(true) // who speaks HTTP/2 offers HTTP/1 too, as curl and browsers do
	transport.Protocols.SetHTTP2(version == 2)
	req, err := http.NewRequestWithContext(testContext(t), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return webAnswer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	a := webAnswer{version: resp.ProtoMajor, status: resp.StatusCode, text: string(text)}
	if resp.TLS != nil {
		a.server = resp.TLS.PeerCertificates[0].Subject.CommonName
	}
	return a, err
}

func grpcTo(t *testing.T, address string, how credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(address, grpc.WithTransportCredentials(how))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// grpcOfBoth is a client of gRPC that offers HTTP/1 as well, as some do.
func grpcOfBoth(t *testing.T, address string, how *tls.Config) *grpc.ClientConn {
	t.Helper()
	how = how.Clone()
	how.NextProtos = []string{"h2", "http/1.1"}
	c, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&tls.Dialer{Config: how}).DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestEveryProtocolWithTLS on one port: JSON over HTTP/1 and 2, gRPC from clients that offer HTTP/2 alone or HTTP/1 too, and native.
func TestEveryProtocolWithTLS(t *testing.T) {
	i, ca, _ := secured(t, "https://CLIENT")
	how := &tls.Config{RootCAs: ca.Pool}
	for version := 1; version <= 2; version++ {
		url := "https://" + i.client
		put, err := web(t, http.MethodPut, url+"/v1/kv/web", fmt.Sprint(version), version, how)
		if err != nil || put.version != version || put.status != http.StatusOK {
			t.Fatalf("HTTP/%d: %+v, %v", version, put, err)
		}
		if got, err := web(t, http.MethodGet, url+"/v1/kv/web", "", version, how); err != nil || got.text != fmt.Sprint(version) {
			t.Errorf("HTTP/%d: %+v, %v", version, got, err)
		}
		if got, err := web(t, http.MethodPost, url+"/v3/kv/range", `{"key": "d2Vi"}`, version, how); err != nil || !strings.Contains(got.text, `"count":"1"`) {
			t.Errorf("the gateway over HTTP/%d: %+v, %v", version, got, err)
		}
	}
	ctx := testContext(t)
	for name, conn := range map[string]*grpc.ClientConn{
		"HTTP/2": grpcTo(t, i.client, credentials.NewTLS(how)),
		"both":   grpcOfBoth(t, i.client, how),
	} {
		if r, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("grpc"), Value: []byte(name)}); err != nil || r.Header.Revision == 0 {
			t.Errorf("a put of a client that offers %s: %v, %v", name, r, err)
		}
		w, err := pb.NewWatchClient(conn).Watch(ctx)
		if err == nil {
			err = w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("grpc")}}})
		}
		if err != nil {
			t.Fatal(err)
		}
		if r, err := w.Recv(); err != nil || !r.Created {
			t.Errorf("a watch of a client that offers %s: %v, %v", name, r, err)
		}
	}
	c := openClient(t, nil, func(c *client.Config) { c.Endpoints, c.TLS = []string{i.client}, how })
	if got, err := c.Get(ctx, "web"); err != nil || string(got.KV.Value) != "2" {
		t.Errorf("native: %+v, %v", got, err)
	}
	// The members are told with their scheme, and followed by it.
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		r, err := pb.NewClusterClient(grpcTo(t, i.client, credentials.NewTLS(how))).MemberList(ctx, &pb.MemberListRequest{})
		if err == nil && slices.Equal(r.Members[0].ClientURLs, []string{"https://" + i.client}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v, %v", r, err)
		}
	}
	if got := c.Endpoints(); !slices.Equal(got, []string{"https://" + i.client}) {
		t.Errorf("the native client's nodes: %q", got)
	}
	if s, err := c.Snapshot(ctx, "", new(bytes.Buffer)); err != nil || s.Bytes == 0 {
		t.Errorf("a snapshot: %+v, %v", s, err)
	}
}

// TestPlainTextToAPortWithTLS gets one clear error in each protocol, and the port goes on.
func TestPlainTextToAPortWithTLS(t *testing.T) {
	i, ca, _ := secured(t, "https://CLIENT")
	got, err := web(t, http.MethodGet, "http://"+i.client+"/v1/kv/a", "", 1, nil)
	if err != nil || got.status != http.StatusBadRequest || !strings.Contains(got.text, "this port has TLS") {
		t.Errorf("HTTP: %+v, %v", got, err)
	}
	_, err = pb.NewKVClient(grpcTo(t, i.client, insecure.NewCredentials())).Range(testContext(t), &pb.RangeRequest{Key: []byte("a")})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "this port has TLS") {
		t.Errorf("gRPC: %v", err)
	}
	const why = "this port has TLS"
	if err := nativeRefusal(t, why, func(c *client.Config) { c.Endpoints = []string{i.client} }); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("native: %v", err)
	}
	if _, err := web(t, http.MethodGet, "https://"+i.client+"/health", "", 2, &tls.Config{RootCAs: ca.Pool}); err != nil {
		t.Error(err)
	}
}

// TestTLSAndPlainTextOnOnePort is what both schemes with one address ask for, as with etcd.
func TestTLSAndPlainTextOnOnePort(t *testing.T) {
	i, ca, _ := secured(t, "http://CLIENT,https://CLIENT")
	for url, how := range map[string]*tls.Config{"https://": {RootCAs: ca.Pool}, "http://": nil} {
		if got, err := web(t, http.MethodGet, url+i.client+"/health", "", 1, how); err != nil || got.status != http.StatusOK {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
		c := openClient(t, nil, func(c *client.Config) { c.Endpoints, c.TLS, c.StaticEndpoints = []string{url + i.client}, how, true })
		if _, err := c.Put(testContext(t), "a", nil); err != nil {
			t.Errorf("native, %s: %v", url, err)
		}
	}
}

// TestClientsWithoutACertificate are turned away from the ports for clients and metrics, and told so.
func TestClientsWithoutACertificate(t *testing.T) {
	authority, metrics := certificates.New(t, "clients"), loopback.MustAddress(t)
	mine := authority.Issue(t, t.TempDir(), "mine")
	i, ca, _ := secured(t, "https://CLIENT", "--client-cert-auth", "--trusted-ca-file="+authority.File)
	i.mustStop()
	i.flags = append(i.flags, "--listen-metrics-urls=http://"+i.metrics+",https://"+metrics)
	i.start()
	i.awaitReady()
	without := &tls.Config{RootCAs: ca.Pool}
	with := &tls.Config{RootCAs: ca.Pool, Certificates: []tls.Certificate{mine.Certificate}}
	for _, url := range []string{"https://" + i.client + "/health", "https://" + metrics + "/metrics"} {
		for version := 1; version <= 2; version++ {
			if got, err := web(t, http.MethodGet, url, "", version, with); err != nil || got.status != http.StatusOK {
				t.Errorf("%s over HTTP/%d: %+v, %v", url, version, got, err)
			}
			if got, err := web(t, http.MethodGet, url, "", version, without); err == nil {
				t.Errorf("%s without a certificate: %+v", url, got)
			}
		}
	}
	c := openClient(t, nil, func(c *client.Config) { c.Endpoints, c.TLS = []string{i.client}, with })
	if _, err := c.Put(testContext(t), "a", nil); err != nil {
		t.Errorf("native: %v", err)
	}
	const why = "certificate required"
	if err := nativeRefusal(t, why, func(c *client.Config) { c.Endpoints, c.TLS = []string{i.client}, without }); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("native without a certificate: %v", err)
	}
}

// nativeRefusal is why a native client gets nothing done. It asks for as long as it may: on a busy machine that is over before it has heard why, unless it has more time.
func nativeRefusal(t *testing.T, why string, config func(*client.Config)) error {
	t.Helper()
	for limit := time.Second; ; limit *= 4 {
		c := openClient(t, nil, config, func(c *client.Config) { c.CallTimeout = limit })
		_, err := c.Put(t.Context(), "a", nil)
		if err == nil || strings.Contains(err.Error(), why) || limit > patience {
			return err
		}
	}
}

// TestANewCertificate is shown to who comes after it, and those who are there stay.
func TestANewCertificate(t *testing.T) {
	i, ca, p := secured(t, "https://CLIENT")
	how := &tls.Config{RootCAs: ca.Pool}
	c := openClient(t, nil, func(c *client.Config) { c.Endpoints, c.TLS = []string{i.client}, how })
	if _, err := c.Put(testContext(t), "a", []byte("v")); err != nil {
		t.Fatal(err)
	}
	ca.Issue(t, filepath.Dir(p.CertFile), "renewed", i.client)
	got, err := web(t, http.MethodGet, "https://"+i.client+"/health", "", 1, how)
	if err != nil || got.server != "renewed" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.Get(testContext(t), "a"); err != nil || !got.Found {
		t.Errorf("who was there: %+v, %v", got, err)
	}
}

// TestANodeWithoutItsCertificate does not start, and says which file it misses.
func TestANodeWithoutItsCertificate(t *testing.T) {
	i := newInstance(t, "a")
	cfg, err := i.config("--listen-client-urls=https://"+i.client, "--cert-file=/nowhere/cert.pem", "--key-file=/nowhere/key.pem")
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(testContext(t), cfg, Options{Log: i.log}); err == nil || !strings.Contains(err.Error(), "/nowhere/cert.pem") {
		t.Errorf("%v", err)
	}
}
