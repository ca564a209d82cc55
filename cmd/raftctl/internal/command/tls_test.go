package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/test/certificates"
)

func TestTrust(t *testing.T) {
	ca := certificates.New(t, "ca")
	p, empty := ca.Issue(t, t.TempDir(), "me"), filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	environ := map[string]string{}
	getenv := func(name string) string { return environ[name] }
	if c, err := new(trust).config(getenv); c != nil || err != nil {
		t.Errorf("nothing given: %v, %v", c, err)
	}
	c, err := (&trust{ca: ca.File, cert: p.CertFile, key: p.KeyFile}).config(getenv)
	if err != nil || !c.RootCAs.Equal(ca.Pool) || len(c.Certificates) != 1 || c.InsecureSkipVerify {
		t.Errorf("flags: %v, %v", c, err)
	}
	environ[EnvCACert], environ[EnvInsecureSkipVerify] = ca.File, "true"
	if c, err := new(trust).config(getenv); err != nil || !c.RootCAs.Equal(ca.Pool) || !c.InsecureSkipVerify {
		t.Errorf("variables: %v, %v", c, err)
	}
	for want, x := range map[string]trust{
		"no such file": {ca: empty + "x"}, "no certificate in it": {ca: empty}, "give both": {ca: ca.File, cert: p.CertFile}, "--key": {ca: ca.File, cert: p.CertFile, key: empty},
	} {
		if _, err := x.config(getenv); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", x, err, want)
		}
	}
	environ[EnvInsecureSkipVerify] = "perhaps"
	if _, err := new(trust).config(getenv); err == nil || !strings.Contains(err.Error(), "true or false") {
		t.Errorf("%v", err)
	}
}
