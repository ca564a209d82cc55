package secure

import (
	"crypto/tls"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/raftkv/raftkv/server/config"
)

// Keeper has what the files say at present, or the certificate that the node has made for itself.
type Keeper struct {
	files  config.TLS
	logger *slog.Logger

	mu sync.Mutex
	// seen are the files that were read last. If that failed it is tried again at retry, since what failed may have been the reading.
	seen   []stamp
	failed bool
	retry  time.Time
	inUse  *material
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
	if k.inUse, err = read(files); err != nil {
		return nil, err
	}
	k.warn(k.inUse)
	return k, nil
}

func stampsOf(files config.TLS) []stamp {
	var out []stamp
	for _, path := range []string{files.CertFile, files.KeyFile, files.ClientCertFile, files.ClientKeyFile, files.TrustedCAFile, files.CRLFile} {
		out = append(out, stampOf(path))
	}
	return out
}

func (k *Keeper) warn(m *material) {
	for _, w := range m.warnings {
		k.logger.Warn(w)
	}
}

// current is made of the files as they are, or as they were when they were of use last.
func (k *Keeper) current() *material {
	now := stampsOf(k.files)
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := !slices.EqualFunc(k.seen, now, stamp.same) || k.inUse.outlived(time.Now())
	if !changed && (!k.failed || time.Now().Before(k.retry)) {
		return k.inUse
	}
	m, err := read(k.files)
	k.seen, k.failed, k.retry = now, err != nil, time.Now().Add(retryPause)
	if err != nil {
		if changed {
			k.logger.Warn("the new files of TLS are of no use yet: the old ones stay in use", "error", err)
		}
		return k.inUse
	}
	k.logger.Info("there is new material for TLS: its files were read again, or its own certificate made anew", "certificate", k.files.CertFile, "goodUntil", m.shown.Leaf.NotAfter)
	k.warn(m)
	k.inUse = m
	return m
}

// server is for those who take connections; protocols are what is offered after the handshake, the best first.
func (k *Keeper) server(protocols []string) *tls.Config {
	return &tls.Config{
		MinVersion: k.files.MinVersion,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if c, ok := hello.Conn.(*hearing); ok {
				c.heard(hello)
			}
			m := k.current()
			c := k.spoken()
			c.Certificates, c.NextProtos, c.VerifyConnection = []tls.Certificate{m.shown}, protocols, m.verify
			if m.trusted != nil {
				c.ClientCAs, c.ClientAuth = m.trusted, tls.RequireAndVerifyClientCert
				c.SessionTicketsDisabled = true // an authority that is taken away lets nobody in any more
			}
			return c, nil
		},
	}
}

// spoken is what both sides of a handshake begin with.
func (k *Keeper) spoken() *tls.Config {
	return &tls.Config{MinVersion: k.files.MinVersion, MaxVersion: k.files.MaxVersion, CipherSuites: k.files.CipherSuites}
}
