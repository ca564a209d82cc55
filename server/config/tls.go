package config

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"
)

// TLS is what listeners show of themselves, and ask of those who come; for members also what is shown to, and asked of, those who are dialled.
type TLS struct {
	// CertFile and KeyFile are PEM; they are empty where there is no TLS, and where the certificate is made by the node.
	CertFile, KeyFile string
	// ClientCertFile and ClientKeyFile are shown to those who are dialled; empty means the same as to those who come.
	ClientCertFile, ClientKeyFile string
	// TrustedCAFile has the authorities, one of which must have signed the certificate of whoever comes or is dialled; empty means that nobody who comes
	// is asked for one, and that the machine's authorities count for those who are dialled.
	TrustedCAFile string
	// CRLFile has lists of certificates that were revoked, PEM or DER; it may be empty.
	CRLFile string
	// AllowedNames are common names, AllowedHosts hosts; a certificate must be for one of those that are given.
	AllowedNames, AllowedHosts []string
	// FromAnywhere says that who comes need not come from an address that the certificate names. It counts for members only.
	FromAnywhere bool
	// SelfSigned is how long a certificate is good that the node makes for itself; zero means that it makes none. Whoever is dialled need show no
	// better one then.
	SelfSigned time.Duration
	// Hosts are those that such a certificate is for.
	Hosts []string
	// MinVersion and MaxVersion are those of crypto/tls; a MaxVersion of zero means the newest.
	MinVersion, MaxVersion uint16
	// CipherSuites are those of TLS 1.2; none means all that are safe.
	CipherSuites []uint16
}

// Enabled tells whether there is a certificate.
func (t TLS) Enabled() bool { return t.CertFile != "" || t.SelfSigned > 0 }

// versionNames are etcd's names of versions.
var versionNames = []string{"TLS1.2", "TLS1.3"}

var versions = map[string]uint16{"": 0, versionNames[0]: tls.VersionTLS12, versionNames[1]: tls.VersionTLS13}

const (
	selfSignedYear = 365 * 24 * time.Hour
	// maxSelfSignedYears is more than any key is good for.
	maxSelfSignedYears = 100
)

// tlsFlags are those of one of the two TLS that a node has.
type tlsFlags struct {
	who, listen              string
	cert, key, ca, ask, auto string
	crl, hosts               string
	names, dialCert, dialKey string // of members only
	anywhere                 string
}

var (
	clientFlags = tlsFlags{
		who: "client", listen: keyListenClient, cert: keyCertFile, key: keyKeyFile, ca: keyTrustedCAFile, ask: keyClientCertAuth, auto: keyAutoTLS,
		crl: keyClientCRLFile, hosts: keyClientAllowedHost,
	}
	peerFlags = tlsFlags{
		who: "member", listen: keyListenPeer, cert: keyPeerCertFile, key: keyPeerKeyFile, ca: keyPeerTrustedCAFile, ask: keyPeerClientCertAuth, auto: keyPeerAutoTLS,
		crl: keyPeerCRLFile, hosts: keyPeerAllowedHost, names: keyPeerAllowedCN, dialCert: keyPeerClientCertFile, dialKey: keyPeerClientKeyFile, anywhere: keyPeerSkipSAN,
	}
)

// tls decides on the TLS of clients and of members.
func (r *reader) tls(c *Config) {
	var spoken TLS
	r.handshakes(&spoken)
	served := append(slices.Clone(c.ListenClient), c.ListenMetrics...)
	c.ClientTLS = r.files(c, clientFlags, spoken, c.ListenClient, served, slices.ContainsFunc(served, Listen.encrypted))
	if at := slices.IndexFunc(c.ListenMetrics, func(l Listen) bool { return l.Both }); at >= 0 {
		r.failf(keyListenMetrics, "%s is given with https:// and with http://: metrics are served with one of them at an address", c.ListenMetrics[at].Address)
	}
	encrypted := slices.ContainsFunc(c.ListenPeer, Listen.encrypted)
	dials := strings.HasPrefix(c.AdvertisePeer, secureScheme) ||
		slices.ContainsFunc(c.InitialCluster, func(m StaticMember) bool { return strings.HasPrefix(m.PeerAddress, secureScheme) })
	c.PeerTLS = r.files(c, peerFlags, spoken, c.ListenPeer, c.ListenPeer, encrypted || dials)
	if strings.HasPrefix(c.AdvertisePeer, secureScheme) && len(c.ListenPeer) > 0 && !encrypted {
		c.Warnings = append(c.Warnings, fmt.Sprintf("members are told to reach this node by %s, but no URL of --%s begins with https://: something before the node must end TLS",
			c.AdvertisePeer, keyListenPeer))
	}
}

func (l Listen) encrypted() bool { return l.TLS }

// files decides on one of them. own are the listeners of those whom the flags are named for, served all that show the certificate; used tells whether the flags
// have an effect at all. As with etcd, naming authorities is enough for whoever comes to be asked for a certificate.
func (r *reader) files(c *Config, f tlsFlags, spoken TLS, own, served []Listen, used bool) TLS {
	t := spoken
	t.CertFile, t.KeyFile, t.TrustedCAFile, t.CRLFile, t.AllowedHosts = r.text(f.cert), r.text(f.key), r.text(f.ca), r.text(f.crl), r.list(f.hosts)
	if f.names != "" {
		t.AllowedNames, t.ClientCertFile, t.ClientKeyFile = r.list(f.names), r.text(f.dialCert), r.text(f.dialKey)
		t.FromAnywhere, _ = r.flags.GetBool(f.anywhere)
	}
	ask, _ := r.flags.GetBool(f.ask)
	asked := ask || t.TrustedCAFile != ""
	auto := r.selfSigned(c, f, &t, served)
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		r.failf(f.cert, "a certificate and its key belong together: give both --%s and --%s", f.cert, f.key)
	case (t.ClientCertFile == "") != (t.ClientKeyFile == ""):
		r.failf(f.dialCert, "a certificate and its key belong together: give both --%s and --%s", f.dialCert, f.dialKey)
	case t.ClientCertFile != "" && t.CertFile == "":
		r.failf(f.dialCert, "give --%s and --%s too, which are shown to whoever dials this node", f.cert, f.key)
	case auto && asked:
		r.failf(f.auto, "no authority has signed what nodes make for themselves, so that no %s would be let in: leave it out, or --%s and --%s", f.who, f.ca, f.ask)
	case slices.ContainsFunc(served, Listen.encrypted) && !t.Enabled():
		r.failf(f.cert, "a listener with https:// needs a certificate: give --%s and --%s, or --%s for one that proves nothing, or write http://", f.cert, f.key, f.auto)
	case ask && t.TrustedCAFile == "":
		r.failf(f.ask, "give --%s, the authorities whose certificates are let in", f.ca)
	case ask && !slices.ContainsFunc(own, Listen.encrypted):
		r.failf(f.ask, "no %s can be asked for a certificate: no URL of --%s begins with https://", f.who, f.listen)
	case t.TrustedCAFile == "":
		r.unasked(f, &t)
	case len(t.AllowedNames) > 0 && len(t.AllowedHosts) > 0:
		r.failf(f.names, "give either --%s or --%s", f.names, f.hosts)
	}
	if !used && (t.Enabled() || asked) {
		c.Warnings = append(c.Warnings, fmt.Sprintf("the flags of TLS are without effect: no URL of --%s begins with https://", f.listen))
	}
	for _, l := range own {
		if used && asked && (!l.TLS || l.Both) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("whoever reaches %s without TLS is let in without a certificate: leave that URL out of --%s if only holders of one are to come",
				l.Address, f.listen))
		}
	}
	return t
}

// unasked refuses what would be asked of certificates where nobody is asked for one.
func (r *reader) unasked(f tlsFlags, t *TLS) {
	for _, x := range []struct {
		key   string
		given bool
	}{{f.crl, t.CRLFile != ""}, {f.hosts, len(t.AllowedHosts) > 0}, {f.names, len(t.AllowedNames) > 0}} {
		if x.given {
			r.failf(x.key, "no %s is asked for a certificate: give --%s, the authorities whose certificates are let in", f.who, f.ca)
		}
	}
}

// selfSigned decides whether the node makes its certificate. As with etcd, one that is given wins.
func (r *reader) selfSigned(c *Config, f tlsFlags, t *TLS, served []Listen) bool {
	auto, _ := r.flags.GetBool(f.auto)
	years := r.integer(keySelfSignedValidity)
	switch {
	case !auto:
		return false
	case t.CertFile != "":
		c.Warnings = append(c.Warnings, fmt.Sprintf("--%s is ignored: there is --%s", f.auto, f.cert))
		return false
	case years < 1 || years > maxSelfSignedYears:
		r.failf(keySelfSignedValidity, "%d years, it must be from 1 to %d", years, maxSelfSignedYears)
	}
	t.SelfSigned = time.Duration(years) * selfSignedYear
	for _, l := range served {
		if host := l.host(); host != "" && !slices.Contains(t.Hosts, host) {
			t.Hosts = append(t.Hosts, host)
		}
	}
	return true
}

// list is a setting of several words.
func (r *reader) list(key string) []string { return splitList(strings.Trim(r.text(key), "[]")) }

// olderSuffix is what etcd's names of suites, which are Go's, did not end in once.
const olderSuffix = "_SHA256"

// handshakes decides what is spoken.
func (r *reader) handshakes(t *TLS) {
	for _, x := range []struct {
		key     string
		version *uint16
	}{{keyTLSMinVersion, &t.MinVersion}, {keyTLSMaxVersion, &t.MaxVersion}} {
		v, known := versions[r.text(x.key)]
		if !known {
			r.failf(x.key, "%q: write %s", r.text(x.key), strings.Join(versionNames, " or "))
		}
		*x.version = v
	}
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	if t.MaxVersion != 0 && t.MaxVersion < t.MinVersion {
		r.failf(keyTLSMaxVersion, "%s is older than --%s", r.text(keyTLSMaxVersion), keyTLSMinVersion)
	}
	for _, name := range r.list(keyCipherSuites) {
		at := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name || s.Name == name+olderSuffix })
		if at < 0 {
			r.failf(keyCipherSuites, "%q is no suite that is safe and known here: leave it out", name)
			continue
		}
		t.CipherSuites = append(t.CipherSuites, tls.CipherSuites()[at].ID)
	}
	if len(t.CipherSuites) > 0 && t.MinVersion > tls.VersionTLS12 {
		r.failf(keyCipherSuites, "the suites of TLS 1.3 cannot be chosen: leave it out, or --%s", keyTLSMinVersion)
	}
}
