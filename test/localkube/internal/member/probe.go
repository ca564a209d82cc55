package member

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	probeInterval = 100 * time.Millisecond
	probeTimeout  = 2 * time.Second
)

// wait returns when the probe has succeeded once, or the context ends.
func (p Probe) wait(ctx context.Context) {
	if p == (Probe{}) {
		return
	}
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for !p.try(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p Probe) try(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if p.Socket != "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", p.Socket)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if p.CAFile != "" {
		roots := x509.NewCertPool()
		text, err := os.ReadFile(p.CAFile)
		if err != nil || !roots.AppendCertsFromPEM(text) {
			return false
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return false
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}
