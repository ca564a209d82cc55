package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/server/config"
)

const (
	// headerTimeout and idleTimeout bound a silent HTTP connection, maxHeaderBytes the head of a request.
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	// metricsTimeout bounds an answer on the metrics port.
	metricsTimeout = time.Minute
)

// listen opens all addresses or none.
func listen(what string, addresses []config.Listen) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range addresses {
		target := a.Address
		if a.Unspecified() {
			// Written without a host it works on machines without IPv6 too.
			host, port, err := net.SplitHostPort(target)
			if ip := net.ParseIP(host); err == nil && (ip == nil || ip.To4() == nil) {
				target = ":" + port
			}
		}
		l, err := open(a, target)
		if err != nil {
			closeAll(out)
			return nil, fmt.Errorf("listen for %s on %s: %w%s", what, a, err, hint(err))
		}
		out = append(out, l)
	}
	return out, nil
}

// hint says what may be done about an address that cannot be opened.
func hint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return ": another process listens there: end it, or give another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return ": the address is none of this machine's: give one that is, or 0.0.0.0 for all of them"
	case errors.Is(err, syscall.EACCES):
		return ": ports below 1024, and other directories' sockets, need the right to open them: give another"
	}
	return ""
}

// open opens one address. The file of a socket that a dead process has left is taken away.
func open(a config.Listen, target string) (net.Listener, error) {
	if !a.Unix {
		return net.Listen("tcp", target)
	}
	l, err := net.Listen("unix", target)
	if errors.Is(err, syscall.EADDRINUSE) && abandoned(target) && os.Remove(target) == nil {
		return net.Listen("unix", target)
	}
	return l, err
}

// abandoned tells whether a file is a socket that nobody listens on.
func abandoned(path string) bool {
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close() // it has shown what it was for
		return false
	}
	info, statErr := os.Lstat(path)
	return errors.Is(err, syscall.ECONNREFUSED) && statErr == nil && info.Mode()&os.ModeSocket != 0
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close() // what matters is reported where it was opened
	}
}

func newHTTPServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// serve runs f until it ends and reports what was not expected.
func serve(what string, logger *slog.Logger, f func() error) {
	if err := f(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
		logger.Error("a listener failed", "port", what, "error", err)
	}
}
