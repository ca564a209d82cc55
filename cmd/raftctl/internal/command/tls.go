package command

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/pflag"
)

// Environment variables that the flags of TLS fall back to.
const (
	EnvCACert             = "RAFTCTL_CACERT"
	EnvCert               = "RAFTCTL_CERT"
	EnvKey                = "RAFTCTL_KEY"
	EnvInsecureSkipVerify = "RAFTCTL_INSECURE_SKIP_TLS_VERIFY"
)

// trust is whom members are taken for, and what they are shown.
type trust struct {
	ca, cert, key string
	unverified    bool
}

func (t *trust) add(f *pflag.FlagSet) {
	f.StringVar(&t.ca, "cacert", "", "file with the authorities (PEM) that members with TLS are checked by; "+EnvCACert+" if left out, else those of the system")
	f.StringVar(&t.cert, "cert", "", "file with the certificate (PEM) that members are shown; "+EnvCert+" if left out")
	f.StringVar(&t.key, "key", "", "file with its key; "+EnvKey+" if left out")
	f.BoolVar(&t.unverified, "insecure-skip-tls-verify", false, "do not check who members are; "+EnvInsecureSkipVerify+"=true if left out")
}

// config is nil if nothing was given.
func (t *trust) config(getenv func(string) string) (*tls.Config, error) {
	given := *t
	for _, x := range []struct {
		flag *string
		env  string
	}{{&given.ca, EnvCACert}, {&given.cert, EnvCert}, {&given.key, EnvKey}} {
		if *x.flag == "" {
			*x.flag = getenv(x.env)
		}
	}
	if text := getenv(EnvInsecureSkipVerify); text != "" && !given.unverified {
		var err error
		if given.unverified, err = strconv.ParseBool(text); err != nil {
			return nil, usage("%s=%q: write true or false", EnvInsecureSkipVerify, text)
		}
	}
	if given == (trust{}) {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: given.unverified} //nolint:gosec // the user asks for it by the flag's name
	if given.ca != "" {
		pem, err := os.ReadFile(given.ca)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--cacert: %w", err)}
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usage("--cacert %s: no certificate in it: give PEM", given.ca)
		}
	}
	if (given.cert == "") != (given.key == "") {
		return nil, usage("--cert and --key belong together: give both")
	}
	if given.cert != "" {
		pair, err := tls.LoadX509KeyPair(given.cert, given.key)
		if err != nil {
			return nil, &usageError{fmt.Errorf("--cert %s and --key %s: %w", given.cert, given.key, err)}
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
