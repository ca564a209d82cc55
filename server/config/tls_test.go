package config

import (
	"crypto/tls"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestListenersWithTLS(t *testing.T) {
	c, err := loadLine(t, "--name=a "+peerFlag+" --cert-file=c --key-file=k --trusted-ca-file=ca --client-cert-auth --tls-min-version=TLS1.2 "+
		"--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305 --listen-client-urls=https://h:1,http://h:2,http://h:1,unixs://s --listen-metrics-urls=https://h:3")
	if err != nil {
		t.Fatal(err)
	}
	want := []Listen{{Address: "s", Unix: true, TLS: true}, {Address: "h:1", TLS: true, Both: true}, {Address: "h:2"}}
	if !slices.Equal(c.ListenClient, want) || c.ListenClient[0].String() != "unixs://s" || !c.ListenMetrics[0].TLS {
		t.Errorf("%+v, %+v", c.ListenClient, c.ListenMetrics)
	}
	files := TLS{CertFile: "c", KeyFile: "k", TrustedCAFile: "ca", MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}}
	if !reflect.DeepEqual(c.ClientTLS, files) || c.AdvertiseClient != "https://h:1" {
		t.Errorf("%+v, %q, %q", c.ClientTLS, c.AdvertiseClient, c.Warnings)
	}
	if w := strings.Join(c.Warnings, "\n"); len(c.Warnings) != 2 || !strings.Contains(w, "reaches h:1 without") || !strings.Contains(w, "reaches h:2 without") {
		t.Errorf("warnings: %s", w)
	}
	// What is told to clients need not be what is listened on.
	for told, want := range map[string]string{"https://other:1": "https://other:1", "http://other:1": "other:1"} {
		c, err := loadLine(t, "--name=a "+peerFlag+" --listen-client-urls=http://h:1 --advertise-client-urls="+told)
		if err != nil || c.AdvertiseClient != want {
			t.Errorf("%s: %q, %v", told, c.AdvertiseClient, err)
		}
	}
	// From etcd's variables and file, as any setting.
	c, err = load(t, []string{"ETCD_CERT_FILE=c", "RAFTKV_KEY_FILE=k"}, "--name=a", peerFlag, "--listen-client-urls=https://h:1",
		"--config-file="+writeFile(t, "client-transport-security: {trusted-ca-file: ca, client-cert-auth: true}"))
	if err != nil || c.ClientTLS.CertFile != "c" || c.ClientTLS.KeyFile != "k" || c.ClientTLS.TrustedCAFile != "ca" {
		t.Errorf("%+v, %v", c.ClientTLS, err)
	}
}

func TestTLSThatCannotBe(t *testing.T) {
	for line, want := range map[string]string{
		"--listen-client-urls=https://h:1":                                               "give --cert-file and --key-file",
		"--listen-metrics-urls=https://h:1":                                              "give --cert-file and --key-file",
		"--listen-client-urls=https://h:1 --cert-file=c":                                 "give both --cert-file and --key-file",
		"--listen-client-urls=https://h:1 --cert-file=c --key-file=k --client-cert-auth": "give --trusted-ca-file",
		"--listen-client-urls=http://h:1 --listen-metrics-urls=https://h:2 --cert-file=c --key-file=k --client-cert-auth --trusted-ca-file=ca": "no client can be asked",
		"--listen-client-urls=https://h:1 --listen-metrics-urls=https://h:2,http://h:2 --cert-file=c --key-file=k":                             "with one of them",
		"--listen-client-urls=https://h:1,https://h:1 --cert-file=c --key-file=k":                                                              "given twice",
		"--listen-client-urls=ftp://h:1":                                                 "the scheme must be http or https",
		"--tls-min-version=TLS1.0":                                                       "write TLS1.2 or TLS1.3",
		"--tls-min-version=TLS1.3 --tls-max-version=TLS1.2":                              "older than --tls-min-version",
		"--cipher-suites=TLS_RSA_WITH_RC4_128_SHA":                                       "no suite that is safe",
		"--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 --tls-min-version=TLS1.3": "cannot be chosen",
	} {
		if _, err := loadLine(t, "--name=a "+peerFlag+" "+line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	c, err := loadLine(t, "--name=a "+peerFlag+" --listen-client-urls=http://h:1 --cert-file=c --key-file=k")
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "begins with https://") {
		t.Errorf("%q, %v", c.Warnings, err)
	}
}
