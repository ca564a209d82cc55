package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/etcd"
	"github.com/raftkv/raftkv/server/mux"
	"github.com/raftkv/raftkv/server/rest"
	"github.com/raftkv/raftkv/server/secure"
)

// openSecure reads the files of TLS if a listener for clients or metrics needs them.
func (n *node) openSecure() (*secure.Keeper, error) {
	for _, l := range append(n.cfg.ListenClient, n.cfg.ListenMetrics...) {
		if l.TLS {
			return secure.Open(n.cfg.ClientTLS, n.logger)
		}
	}
	return nil, nil
}

// serveClients serves one listener for clients in all protocols: below TLS, without it, or both, which the first byte tells apart.
func (n *node) serveClients(f *fronts, l net.Listener, how config.Listen, keeper *secure.Keeper) {
	outer := mux.New(l, n.logger)
	shared := []*mux.Mux{outer}
	if how.TLS {
		inner := mux.New(secure.Listen(outer.Listen(mux.TLS), keeper), n.logger)
		shared = append(shared, inner)
		// Who offers the web's protocols may send JSON over HTTP/2, or gRPC; who offers only HTTP/2 sends gRPC.
		f.serve(n.logger, inner.ListenOf(offersWeb, mux.HTTP2), f.client.Serve)
		n.serveProtocols(f, inner)
	}
	if how.TLS && !how.Both {
		n.refusePlain(f, outer)
	} else {
		n.serveProtocols(f, outer)
	}
	for _, m := range shared { // when all routes are there
		f.muxes = append(f.muxes, m)
		f.running.Go(func() { serve("client", n.logger, m.Serve) })
	}
	f.addresses.Client = append(f.addresses.Client, l.Addr().String())
}

// serveProtocols serves what a connection speaks when nothing encrypts it any more.
func (n *node) serveProtocols(f *fronts, m *mux.Mux) {
	f.serve(n.logger, m.Listen(mux.Native), f.native.Serve)
	f.serve(n.logger, rest.Problems(m.Listen(mux.HTTP1)), f.client.Serve)
	f.serve(n.logger, door{m.Listen(mux.HTTP2), n.serves}, f.etcd.Serve)
}

// refusePlain tells clients that speak without TLS, in their own protocol, that this port has it.
func (n *node) refusePlain(f *fronts, m *mux.Mux) {
	f.serve(n.logger, m.Listen(mux.Native), func(l net.Listener) error {
		if err := f.plainNative.Serve(l); !errors.Is(err, rpc.ErrServerClosed) {
			return err
		}
		return nil
	})
	web := func(p []byte) mux.Verdict { return max(mux.HTTP1(p), mux.HTTP2(p)) }
	f.serve(n.logger, m.Listen(web), f.plain.Serve)
}

// serve runs one server on one listener until it is closed.
func (f *fronts) serve(logger *slog.Logger, l net.Listener, with func(net.Listener) error) {
	f.running.Go(func() { serve("client", logger, func() error { return with(l) }) })
}

func offersWeb(c net.Conn) bool {
	s, ok := c.(*secure.Conn)
	return ok && s.OffersWeb()
}

// needsTLS is what a client without TLS is told.
const needsTLS = "this port has TLS: use https://, or give the client a TLS configuration"

// newPlainNative refuses native clients without TLS.
func newPlainNative(logger *slog.Logger) *rpc.Server {
	return rpc.NewServer(rpc.ServerOptions{Logger: logger, AcceptConn: func(rpc.Metadata, net.Addr) (rpc.Metadata, error) {
		return nil, rpc.Refusal("TLSNeeded", needsTLS)
	}})
}

// newPlain refuses HTTP and gRPC clients without TLS.
func newPlain(logger *slog.Logger) *http.Server {
	s := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isGRPC(r) {
			// An answer of gRPC without any message (its specification calls that Trailers-Only).
			w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			w.Header().Set("Grpc-Status", fmt.Sprint(uint32(codes.FailedPrecondition)))
			w.Header().Set("Grpc-Message", "etcdserver: "+needsTLS)
			w.WriteHeader(http.StatusOK)
			return
		}
		http.Error(w, needsTLS, http.StatusBadRequest)
	}), logger)
	bothVersions(s)
	s.SetKeepAlivesEnabled(false)
	return s
}

// bothVersions makes a server speak HTTP/2 with those who begin so, besides HTTP/1: TLS has ended before it.
func bothVersions(s *http.Server) {
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
}

func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// withGRPC serves the calls of clients that share a connection's protocols with the web. They are turned away like others until the node serves.
func withGRPC(front *etcd.Server, serves func() bool, web http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !isGRPC(r):
			web.ServeHTTP(w, r)
		case !serves():
			w.WriteHeader(http.StatusServiceUnavailable) // which clients take for codes.Unavailable
		default:
			front.ServeHTTP(w, r)
		}
	})
}
