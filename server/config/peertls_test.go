package config

import (
	"crypto/tls"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const peerFiles = "--peer-cert-file=c --peer-key-file=k --peer-trusted-ca-file=ca "

func TestMembersWithTLS(t *testing.T) {
	c, err := loadLine(t, "--name=a "+peerFiles+"--peer-client-cert-auth --peer-client-cert-file=dc --peer-client-key-file=dk --peer-crl-file=crl --peer-cert-allowed-cn=n,m "+
		"--experimental-peer-skip-client-san-verification --listen-peer-urls=https://h:1,https://127.0.0.1:1 --initial-cluster=a=https://h:1,b=https://[fd00::2]:1,c=http://h:3")
	if err != nil {
		t.Fatal(err)
	}
	want := TLS{
		CertFile: "c", KeyFile: "k", ClientCertFile: "dc", ClientKeyFile: "dk", TrustedCAFile: "ca", CRLFile: "crl", AllowedNames: []string{"n", "m"}, FromAnywhere: true,
		MinVersion: tls.VersionTLS12,
	}
	if !reflect.DeepEqual(c.PeerTLS, want) || !slices.Equal(c.ListenPeer, []Listen{{Address: "h:1", TLS: true}, {Address: "127.0.0.1:1", TLS: true}}) {
		t.Errorf("%+v, %+v", c.PeerTLS, c.ListenPeer)
	}
	members := []StaticMember{{"a", "https://h:1"}, {"b", "https://[fd00::2]:1"}, {"c", "h:3"}}
	if !slices.Equal(c.InitialCluster, members) || c.AdvertisePeer != "https://h:1" || len(c.Warnings) > 0 || c.ClientTLS.Enabled() {
		t.Errorf("%+v, %q, %q", c.InitialCluster, c.AdvertisePeer, c.Warnings)
	}
	// From etcd's variables and file, as any setting.
	c, err = load(t, []string{"ETCD_PEER_CERT_FILE=c", "RAFTKV_PEER_KEY_FILE=k"}, "--name=a", "--listen-peer-urls=https://h:1",
		"--config-file="+writeFile(t, "peer-transport-security: {trusted-ca-file: ca, client-cert-auth: true, client-cert-file: dc, client-key-file: dk, allowed-hostname: [x, y], "+
			"skip-client-san-verification: true}"))
	if p := c.PeerTLS; err != nil || p.CertFile != "c" || p.KeyFile != "k" || p.TrustedCAFile != "ca" || p.ClientCertFile != "dc" || !slices.Equal(p.AllowedHosts, []string{"x", "y"}) || !p.FromAnywhere {
		t.Errorf("%+v, %v", p, err)
	}
	if c.AdvertisePeer != "https://h:1" {
		t.Errorf("told as %q", c.AdvertisePeer)
	}
}

// TestANodeThatMakesItsCertificate as with etcd.
func TestANodeThatMakesItsCertificate(t *testing.T) {
	c, err := loadLine(t, "--auto-tls --peer-auto-tls --self-signed-cert-validity=2 --listen-peer-urls=https://h:1,https://0.0.0.0:2 --listen-client-urls=https://h:3,https://g:3,unixs://s")
	if err != nil {
		t.Fatal(err)
	}
	const good = 2 * 365 * 24 * time.Hour
	if p := c.PeerTLS; p.SelfSigned != good || !p.Enabled() || !slices.Equal(p.Hosts, []string{"h"}) {
		t.Errorf("%+v", p)
	}
	if p := c.ClientTLS; p.SelfSigned != good || !slices.Equal(p.Hosts, []string{"h", "g"}) || c.AdvertisePeer != "https://h:1" || len(c.InitialCluster) != 1 {
		t.Errorf("%+v, %+v", p, c)
	}
	c, err = loadLine(t, "--name=a "+peerFiles+"--peer-auto-tls --listen-peer-urls=https://h:1")
	if err != nil || c.PeerTLS.SelfSigned != 0 || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "--peer-auto-tls is ignored") {
		t.Errorf("a certificate that is given: %+v, %q, %v", c.PeerTLS, c.Warnings, err)
	}
}

func TestTLSBetweenMembersThatCannotBe(t *testing.T) {
	for line, want := range map[string]string{
		"--listen-peer-urls=https://h:1":                                                                                       "give --peer-cert-file and --peer-key-file, or --peer-auto-tls",
		"--listen-peer-urls=https://h:1 --peer-cert-file=c":                                                                    "give both --peer-cert-file and --peer-key-file",
		"--listen-peer-urls=https://h:1 --peer-auto-tls --peer-client-cert-file=c":                                             "give both --peer-client-cert-file and --peer-client-key-file",
		"--listen-peer-urls=https://h:1 --peer-auto-tls --peer-client-cert-file=c --peer-client-key-file=k":                    "give --peer-cert-file and --peer-key-file too",
		"--listen-peer-urls=https://h:1 --peer-cert-file=c --peer-key-file=k --peer-client-cert-auth":                          "give --peer-trusted-ca-file",
		"--listen-peer-urls=https://h:1 --peer-cert-file=c --peer-key-file=k --peer-cert-allowed-cn=n":                         "--peer-cert-allowed-cn: no member is asked for a certificate",
		"--listen-peer-urls=https://h:1 --peer-cert-file=c --peer-key-file=k --peer-crl-file=n":                                "--peer-crl-file: no member is asked for a certificate",
		"--listen-peer-urls=https://h:1 --peer-auto-tls --peer-trusted-ca-file=ca":                                             "no authority has signed",
		"--listen-peer-urls=https://h:1 --peer-auto-tls --self-signed-cert-validity=0":                                         "it must be from 1 to",
		"--listen-peer-urls=https://h:1 --peer-cert-allowed-cn=n --peer-cert-allowed-hostname=h " + peerFiles:                  "give either --peer-cert-allowed-cn or --peer-cert-allowed-hostname",
		"--listen-peer-urls=http://h:1 --peer-client-cert-auth " + peerFiles:                                                   "no member can be asked for a certificate: no URL of --listen-peer-urls",
		"--listen-peer-urls=https://h:1,https://h:1 " + peerFiles:                                                              "given twice",
		"--listen-peer-urls=https://h:1 --initial-cluster=a=https://h:1,b=http://h:1 " + peerFiles:                             "members a and b have the same URL",
		"--listen-peer-urls=https://h:1 --initial-cluster=a=https://h:1 --initial-advertise-peer-urls=http://h:1 " + peerFiles: "http://h:1 differs from this node's URL in --initial-cluster, https://h:1",
	} {
		if _, err := loadLine(t, "--name=a "+line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	for line, want := range map[string]string{
		peerFiles + peerFlag: "without effect",
		peerFiles + "--listen-peer-urls=http://h:1,https://h:1":                                   "whoever reaches h:1 without TLS",
		peerFiles + "--listen-peer-urls=http://h:1 --initial-advertise-peer-urls=https://h:9":     "something before the node must end TLS",
		peerFiles + "--listen-peer-urls=https://h:1 --initial-cluster=a=https://h:1,b=http://h:2": "",
		peerFlag + " --initial-cluster=a=http://127.0.0.1:2380,b=https://h:2":                     "",
	} {
		c, err := loadLine(t, "--name=a "+line)
		if all := strings.Join(c.Warnings, "\n"); err != nil || (want == "") != (all == "") || !strings.Contains(all, want) {
			t.Errorf("%s: %q, %v, want %q", line, all, err, want)
		}
	}
}
