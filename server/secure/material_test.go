package secure

import (
	"crypto/tls"
	"encoding/pem"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/test/certificates"
)

// TestClientsThatWereRevoked are turned away once the list says so.
func TestClientsThatWereRevoked(t *testing.T) {
	ca, other, crl := certificates.New(t, "ca"), certificates.New(t, "other"), filepath.Join(t.TempDir(), "crl.pem")
	p, good, bad := ca.Issue(t, t.TempDir(), "server"), ca.Issue(t, t.TempDir(), "good"), ca.Issue(t, t.TempDir(), "bad")
	ca.Revoke(t, crl)
	address, _ := server(t, config.TLS{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: ca.File, CRLFile: crl, MinVersion: tls.VersionTLS12})
	with := func(p certificates.Pair) error {
		_, _, err := ask(t, address, &tls.Config{RootCAs: ca.Pool, Certificates: []tls.Certificate{p.Certificate}})
		return err
	}
	both := func(when string, revoked bool) {
		t.Helper()
		if err := with(good); err != nil {
			t.Errorf("%s: one that was not revoked: %v", when, err)
		}
		if err := with(bad); (err != nil) != revoked {
			t.Errorf("%s: %v", when, err)
		}
	}
	both("an empty list", false)
	ca.Revoke(t, crl, bad)
	both("PEM", true)
	block, _ := pem.Decode(contentOf(t, crl))
	replace(t, crl, block.Bytes)
	both("DER", true)
	// A serial number is one of its issuer's.
	other.Revoke(t, crl, bad)
	both("of another issuer", false)
	ofOther := contentOf(t, crl)
	ca.Revoke(t, crl, bad)
	replace(t, crl, append(ofOther, contentOf(t, crl)...))
	both("two lists", true)
}

func TestListsOfRevokedCertificatesThatMayBeWrong(t *testing.T) {
	ca, other, crl := certificates.New(t, "ca"), certificates.New(t, "other"), filepath.Join(t.TempDir(), "crl.pem")
	p := ca.Issue(t, t.TempDir(), "server")
	files := config.TLS{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: ca.File, CRLFile: crl}
	other.Revoke(t, crl, p)
	log := new(logBuffer)
	if _, err := Open(files, slog.New(slog.NewTextHandler(log, nil))); err != nil || !strings.Contains(log.String(), "CN=other") {
		t.Errorf("%v\n%s", err, log)
	}
	_, lists, err := revokedBy(crl)
	if err != nil {
		t.Fatal(err)
	}
	_, known, err := authorities(other.File)
	if err != nil {
		t.Fatal(err)
	}
	if d := doubts(files, lists, known, time.Now()); len(d) > 0 {
		t.Errorf("of an authority, in its time: %q", d)
	}
	if d := doubts(files, lists, known, lists[0].NextUpdate.Add(time.Second)); len(d) != 1 || !strings.Contains(d[0], "should have been renewed") {
		t.Errorf("late: %q", d)
	}
	files.CRLFile = p.CertFile
	if _, err := Open(files, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), p.CertFile+" is no list of revoked certificates") {
		t.Errorf("%v", err)
	}
}

func TestCertificatesThatAreOutOfTimeAreToldOf(t *testing.T) {
	ca := certificates.New(t, "ca")
	a, b := ca.Issue(t, t.TempDir(), "a").Certificate, ca.Issue(t, t.TempDir(), "b").Certificate
	if w := outOfTime(time.Now(), a, b); len(w) > 0 {
		t.Errorf("in time: %q", w)
	}
	for _, when := range []time.Time{a.Leaf.NotAfter.Add(time.Minute), a.Leaf.NotBefore.Add(-time.Minute)} {
		if w := outOfTime(when, a, a, b); len(w) != 2 || !strings.Contains(w[0], `"CN=a"`) || !strings.Contains(w[1], `"CN=b"`) {
			t.Errorf("at %v: %q", when, w)
		}
	}
}

// TestACertificateOfTheNodesOwnIsMadeAnewInTime, once.
func TestACertificateOfTheNodesOwnIsMadeAnewInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const good = 300 * time.Hour
		k, err := Open(config.TLS{SelfSigned: good, Hosts: []string{"h", "192.0.2.1"}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		first := k.current()
		leaf := first.shown.Leaf
		if leaf.VerifyHostname("h") != nil || leaf.VerifyHostname("192.0.2.1") != nil || !leaf.NotAfter.Equal(time.Now().UTC().Truncate(time.Second).Add(good)) {
			t.Errorf("%q until %v", hostsOf(leaf), leaf.NotAfter)
		}
		time.Sleep(good / 2)
		if k.current() != first {
			t.Error("made anew too soon")
		}
		time.Sleep(good / 4)
		second := k.current()
		if second == first || second.shown.Leaf.NotAfter.Before(time.Now().Add(good-time.Second)) {
			t.Error("not made anew")
		}
		if k.current() != second {
			t.Error("made anew again")
		}
	})
}
