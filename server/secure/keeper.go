package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/raftkv/raftkv/server/config"
)

// Keeper has what the files say at present.
type Keeper struct {
	files  config.TLS
	logger *slog.Logger

	mu sync.Mutex
	// seen are the files that were read last. If that failed it is tried again at retry, since what failed may have been the reading.
	seen   [3]stamp
	failed bool
	retry  time.Time
	inUse  *tls.Config
}

// retryPause is how long files that were of no use stay unread.
const retryPause = time.Second

// stamp tells whether a file is another one than before. The file at the end of a symbolic link counts, which is what Kubernetes replaces.
type stamp struct {
	modified time.Time
	size     int64
	info     fs.FileInfo
}

func stampOf(path string) stamp {
	if path == "" {
		return stamp{}
	}
	info, err := os.Stat(path)
	if err != nil {
		return stamp{} // reading it says why
	}
	return stamp{info.ModTime(), info.Size(), info}
}

func (s stamp) same(as stamp) bool {
	if s.info == nil || as.info == nil {
		return s.info == nil && as.info == nil
	}
	return s.modified.Equal(as.modified) && s.size == as.size && os.SameFile(s.info, as.info)
}

// Open reads the files. An error names the file and what is wrong with it.
func Open(files config.TLS, logger *slog.Logger) (*Keeper, error) {
	k := &Keeper{files: files, logger: logger, seen: stampsOf(files)}
	var err error
	k.inUse, err = read(files)
	return k, err
}

func stampsOf(files config.TLS) [3]stamp {
	return [3]stamp{stampOf(files.CertFile), stampOf(files.KeyFile), stampOf(files.TrustedCAFile)}
}

// read makes a configuration of what is in the files.
func read(files config.TLS) (*tls.Config, error) {
	for _, path := range []string{files.CertFile, files.KeyFile} {
		if _, err := os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("read a file of TLS: %w", err)
		}
	}
	pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s and the key %s are of no use together: %w: give the PEM of a certificate and of the key that it was made for",
			files.CertFile, files.KeyFile, err)
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: files.MinVersion, MaxVersion: files.MaxVersion, CipherSuites: files.CipherSuites,
	}
	if files.TrustedCAFile != "" {
		if c.ClientCAs, err = authorities(files.TrustedCAFile); err != nil {
			return nil, err
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
		c.SessionTicketsDisabled = true // an authority that is taken away lets nobody in any more
	}
	return c, nil
}

func authorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the authorities of TLS: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(path + " has no certificate of an authority: give PEM")
	}
	return pool, nil
}

// current is made of the files as they are, or as they were when they were of use last.
func (k *Keeper) current() *tls.Config {
	now := stampsOf(k.files)
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := !k.seen[0].same(now[0]) || !k.seen[1].same(now[1]) || !k.seen[2].same(now[2])
	if !changed && (!k.failed || time.Now().Before(k.retry)) {
		return k.inUse
	}
	c, err := read(k.files)
	k.seen, k.failed, k.retry = now, err != nil, time.Now().Add(retryPause)
	if err != nil {
		if changed {
			k.logger.Warn("the new files of TLS are of no use yet: the old ones stay in use", "error", err)
		}
		return k.inUse
	}
	k.logger.Info("the files of TLS were read again", "certificate", k.files.CertFile)
	k.inUse = c
	return c
}

// server is for those who take connections; protocols are what is offered after the handshake, the best first.
func (k *Keeper) server(protocols []string) *tls.Config {
	return &tls.Config{
		MinVersion: k.files.MinVersion,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if c, ok := hello.Conn.(*hearing); ok {
				c.heard(hello)
			}
			c := k.current().Clone()
			c.NextProtos = protocols
			return c, nil
		},
	}
}
