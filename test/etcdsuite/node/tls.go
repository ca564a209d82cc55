package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// end listens on an address and ends TLS there: what is said inside goes to a socket.
func end(address, socket string, l *line) error {
	config := &tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	certificate, err := l.certificate()
	if err != nil {
		return err
	}
	config.Certificates = []tls.Certificate{certificate}
	if l.verify {
		pem, err := os.ReadFile(l.ca)
		if err != nil {
			return err
		}
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s has no certificate", l.ca)
		}
	}
	// The node serves gRPC over HTTP/2, and all else over HTTP/1. Who takes both does not speak gRPC.
	older := config.Clone()
	older.NextProtos = []string{"http/1.1"}
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, older.NextProtos[0]) {
			return older, nil
		}
		return nil, nil
	}
	listener, err := tls.Listen("tcp", address, config)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go pass(conn, socket)
		}
	}()
	return nil
}

// pass carries one connection. A client that comes before the node listens is cut off, as by a node that does not listen.
func pass(outside net.Conn, socket string) {
	defer func() { _ = outside.Close() }()
	inside, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer func() { _ = inside.Close() }()
	var both sync.WaitGroup
	both.Go(func() { carry(inside, outside) })
	both.Go(func() { carry(outside, inside) })
	both.Wait()
}

// carry copies until one side ends, and tells the other.
func carry(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	_ = to.Close()
	_ = from.Close()
}

// certificate is that of the files, or one for this machine that nobody has signed.
func (l *line) certificate() (tls.Certificate, error) {
	if !l.auto {
		return tls.LoadX509KeyPair(l.cert, l.key)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
