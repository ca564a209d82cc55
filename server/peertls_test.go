package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
	"github.com/raftkv/raftkv/test/certificates"
)

// secureMember is a node that speaks TLS with members.
type secureMember struct {
	*instance
	// relay is where the others reach it, dir where its certificate is.
	relay *relay
	dir   string
}

func newSecureMember(t *testing.T, name, trusted string) *secureMember {
	t.Helper()
	m := &secureMember{relay: newRelay(t), dir: t.TempDir()}
	m.instance = newInstance(t, name)
	m.relay.leadTo(m.peer)
	m.told = "https://" + m.relay.address
	m.flags = []string{
		"--listen-peer-urls=https://" + m.peer, "--initial-advertise-peer-urls=" + m.told, "--peer-client-cert-auth", "--peer-trusted-ca-file=" + trusted,
		"--peer-cert-file=" + filepath.Join(m.dir, "cert.pem"), "--peer-key-file=" + filepath.Join(m.dir, "key.pem"),
	}
	return m
}

// issue gives the node a certificate, in the place of what it has.
func (m *secureMember) issue(ca *certificates.Authority) {
	ca.Issue(m.t, m.dir, m.name, m.relay.address)
}

// secureMembers are nodes that are to form a static cluster. They have no certificates yet.
func secureMembers(t *testing.T, trusted string, names ...string) []*secureMember {
	t.Helper()
	var members []*secureMember
	var list []string
	for _, n := range names {
		m := newSecureMember(t, n, trusted)
		members = append(members, m)
		list = append(list, n+"="+m.told)
	}
	for _, m := range members {
		m.flags = append(m.flags, "--initial-cluster="+strings.Join(list, ","))
	}
	return members
}

func instances(members []*secureMember) []*instance {
	var out []*instance
	for _, m := range members {
		out = append(out, m.instance)
	}
	return out
}

// byTLS dials with a certificate.
func byTLS(ca *certificates.Authority, p certificates.Pair) rpc.DialFunc {
	return (&tls.Dialer{Config: &tls.Config{RootCAs: ca.Pool, Certificates: []tls.Certificate{p.Certificate}}}).DialContext
}

func (i *instance) awaitLog(words string) {
	i.t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(i.log.String(), words); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			i.t.Fatalf("%s does not say %q", i.name, words)
		}
	}
}

// TestMembersSayNothingInTheClear: they find each other, elect, replicate, lose one and take it back, take a new one in and are asked by an administrator.
func TestMembersSayNothingInTheClear(t *testing.T) {
	ca := certificates.New(t, "ca")
	members := secureMembers(t, ca.File, "a", "b", "c")
	operator := ca.Issue(t, t.TempDir(), "operator")
	for _, m := range members {
		m.issue(ca)
		m.operator = byTLS(ca, operator)
		m.start()
	}
	const secret = "what nobody else is to know"
	nodes := instances(members)
	for _, i := range nodes {
		i.awaitReady()
		i.mustPut("key-"+i.name, secret)
	}
	leader := leaderOf(t, nodes)
	leader.mustStop()
	others(nodes, leader)[0].mustPut("meanwhile", secret)
	leader.start()
	leader.awaitReady()
	leader.mustGet("meanwhile", secret)

	d := newSecureMember(t, "d", ca.File)
	d.issue(ca)
	d.flags = append(d.flags, "--initial-cluster-state=existing")
	d.start()
	add(t, append(nodes, d.instance), d.instance)
	for _, i := range nodes {
		d.mustGet("key-"+i.name, secret)
	}
	for _, m := range append(members, d) {
		if !m.relay.hears("\x16\x03") {
			t.Errorf("nobody spoke TLS with %s", m.name)
		}
		for _, words := range []string{rpc.Magic, secret, token, "incarnation"} {
			if m.relay.hears(words) {
				t.Errorf("%q was said to %s in the clear", words, m.name)
			}
		}
	}
	// Whoever has the token but no certificate is not heard.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := rpc.Dial(ctx, members[0].peer, rpc.ClientOptions{Metadata: rpc.Metadata{admin.MetadataToken: token}})
	if rpc.ReasonOf(err) != "TLSNeeded" {
		t.Errorf("an administrator without TLS: %v", err)
	}
	if err == nil {
		_ = c.Close()
	}
}

// TestAMemberOfAnotherAuthorityIsNeverLetIn, and both sides say why; with a certificate that is good it is one of them at once, without a restart.
func TestAMemberOfAnotherAuthorityIsNeverLetIn(t *testing.T) {
	ca, other := certificates.New(t, "ca"), certificates.New(t, "other")
	trusted := filepath.Join(t.TempDir(), "both.pem")
	bundle(t, trusted, ca, other)
	members := secureMembers(t, ca.File, "a", "b", "c")
	for _, m := range members {
		m.issue(ca)
	}
	stranger := members[2]
	stranger.flags = append(stranger.flags, "--peer-trusted-ca-file="+trusted) // it would take the others
	for _, m := range members {
		m.start()
	}
	for _, m := range members {
		m.awaitReady()
	}
	stranger.mustStop()
	stranger.issue(other)
	stranger.start()
	members[0].mustPut("k", "v")
	stranger.awaitLog("unknown certificate authority")
	members[0].awaitLog("certificate signed by unknown authority")
	if s, err := stranger.status(); err != nil || s.Ready || s.Leader != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	stranger.issue(ca)
	stranger.awaitReady()
	stranger.mustGet("k", "v")
}

func bundle(t *testing.T, to string, authorities ...*certificates.Authority) {
	t.Helper()
	var all []byte
	for _, a := range authorities {
		b, err := os.ReadFile(a.File)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	if err := os.WriteFile(to+".new", all, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

// TestAuthoritiesAreRotatedWhileWritesGoOn: first all trust both, then all have certificates of the new one, then that alone is trusted. Connections that stand are broken after each
// step, so that what is new has to do.
func TestAuthoritiesAreRotatedWhileWritesGoOn(t *testing.T) {
	first, second, trusted := certificates.New(t, "first"), certificates.New(t, "second"), filepath.Join(t.TempDir(), "ca.pem")
	bundle(t, trusted, first)
	members := secureMembers(t, trusted, "a", "b", "c")
	for _, m := range members {
		m.issue(first)
		m.start()
	}
	for _, m := range members {
		m.awaitReady()
	}
	var written atomic.Int64
	writing, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; writing.Err() == nil; n++ {
			r, err := members[n%3].request(http.MethodPut, fmt.Sprintf("/v1/kv/key-%d", written.Load()), "v")
			if err == nil && r.code == http.StatusOK {
				written.Add(1)
			}
		}
	}()
	defer func() { stop(); <-ended }()
	steps := []func(){func() {}, func() { bundle(t, trusted, first, second) }}
	for _, m := range members {
		steps = append(steps, func() { m.issue(second) })
	}
	steps = append(steps, func() { bundle(t, trusted, second) })
	for _, step := range steps {
		step()
		for _, m := range members {
			m.relay.cut()
			enough := written.Load() + 5
			for end := time.Now().Add(patience); written.Load() < enough; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("no writes any more")
				}
			}
		}
		for _, m := range members {
			m.awaitReady()
		}
	}
	stop()
	<-ended
	for n := range written.Load() {
		members[n%3].mustGet(fmt.Sprintf("key-%d", n), "v")
	}
	for _, m := range members {
		c, err := tls.Dial("tcp", m.peer, &tls.Config{RootCAs: second.Pool})
		if err != nil {
			t.Errorf("%s shows an old certificate: %v", m.name, err)
			continue
		}
		_ = c.Close()
	}
}

// TestAMemberThatIsNotWhoItsAddressSaysIsRefused: the cluster forms once its certificate is for where it is, and nobody has to restart.
func TestAMemberThatIsNotWhoItsAddressSaysIsRefused(t *testing.T) {
	ca := certificates.New(t, "ca")
	members := secureMembers(t, ca.File, "a", "b", "c")
	for _, m := range members {
		m.issue(ca)
	}
	ca.IssueFor(t, members[2].dir, "c", "elsewhere.example", "127.0.0.1") // others may be dialled with it
	for _, m := range members {
		m.start()
	}
	host, _, err := net.SplitHostPort(members[2].relay.address)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members[:2] {
		m.awaitLog(fmt.Sprintf("certificate is valid for 127.0.0.1, not %s", host))
	}
	for _, m := range members {
		if s, err := m.status(); err != nil || s.State != admin.StateForming {
			t.Errorf("%+v, %v", s, err)
		}
	}
	members[2].issue(ca)
	for _, m := range members {
		m.awaitReady()
	}
}

// TestMembersWithAndWithoutTLS never form a cluster, and each says what the other speaks.
func TestMembersWithAndWithoutTLS(t *testing.T) {
	ca := certificates.New(t, "ca")
	members := secureMembers(t, ca.File, "a", "b")
	a, b := members[0], members[1]
	a.issue(ca)
	a.start()
	b.flags = []string{fmt.Sprintf("--initial-cluster=a=http://%s,b=http://%s", a.relay.address, b.relay.address)}
	b.start()
	a.awaitLog("it speaks without TLS")
	a.awaitLog("this port has TLS")
	b.awaitLog("it speaks TLS, and this port has none")
	b.awaitLog("this port has TLS")
	for _, m := range members {
		if s, err := m.status(); err != nil || s.State != admin.StateForming {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

// TestMembersBeginToSpeakTLS one after another, while the cluster serves: each listens for both, then each is dialled by TLS, then each listens for TLS alone.
func TestMembersBeginToSpeakTLS(t *testing.T) {
	ca := certificates.New(t, "ca")
	members := secureMembers(t, ca.File, "a", "b", "c")
	restart := func(m *secureMember, listen string, more ...string) {
		t.Helper()
		var list []string
		for _, x := range members {
			list = append(list, x.name+"=http://"+x.relay.address)
		}
		m.flags = append([]string{"--admin-token-file=", "--listen-peer-urls=" + listen, "--initial-cluster=" + strings.Join(list, ",")}, more...)
		m.start()
	}
	secure := func(m *secureMember) []string {
		return []string{"--peer-client-cert-auth", "--peer-trusted-ca-file=" + ca.File,
			"--peer-cert-file=" + filepath.Join(m.dir, "cert.pem"), "--peer-key-file=" + filepath.Join(m.dir, "key.pem")}
	}
	for _, m := range members {
		m.issue(ca)
		restart(m, "http://"+m.peer)
	}
	written := 0
	write := func() {
		t.Helper()
		for _, m := range members {
			m.awaitReady()
			m.mustPut(fmt.Sprintf("key-%d", written), "v")
			written++
		}
	}
	write()
	for _, m := range members {
		m.mustStop()
		restart(m, "http://"+m.peer+",https://"+m.peer, secure(m)...)
		m.awaitLog("whoever reaches " + m.peer + " without TLS")
		write()
	}
	cluster := pb.NewClusterClient(grpcTo(t, members[0].client, insecure.NewCredentials()))
	for _, m := range members {
		s := m.awaitReady()
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			r, err := cluster.MemberUpdate(testContext(t), &pb.MemberUpdateRequest{ID: uint64(s.MemberID), PeerURLs: []string{m.told}})
			if err == nil && strings.Contains(r.String(), m.told) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%v, %v", r, err)
			}
		}
		write()
	}
	for _, m := range members {
		m.mustStop()
		restart(m, "https://"+m.peer, secure(m)...)
		write()
	}
	for n := range written {
		members[n%3].mustGet(fmt.Sprintf("key-%d", n), "v")
	}
	for _, m := range members {
		if s, err := m.status(); err != nil || !strings.Contains(fmt.Sprint(s.Members), m.told) {
			t.Errorf("%+v, %v", s.Members, err)
		}
	}
}

// TestMembersThatMakeTheirCertificates encrypt what they say, and a node without its files does not start.
func TestMembersThatMakeTheirCertificates(t *testing.T) {
	ca := certificates.New(t, "ca")
	members := secureMembers(t, ca.File, "a", "b", "c")
	cfg, err := members[0].config()
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(testContext(t), cfg, Options{Log: members[0].log}); err == nil || !strings.Contains(err.Error(), filepath.Join(members[0].dir, "cert.pem")) {
		t.Errorf("without its files: %v", err)
	}
	for _, m := range members {
		m.flags = append([]string{"--peer-auto-tls"}, m.flags[0], m.flags[1], m.flags[len(m.flags)-1])
		m.start()
	}
	for _, m := range members {
		m.awaitReady()
		m.mustPut("key-"+m.name, "what nobody else is to know")
	}
	for _, m := range members {
		if !m.relay.hears("\x16\x03") || m.relay.hears("nobody else") || m.relay.hears(rpc.Magic) {
			t.Errorf("%s was spoken to in the clear", m.name)
		}
	}
	c, err := tls.Dial("tcp", members[0].peer, &tls.Config{RootCAs: x509.NewCertPool()})
	if err == nil {
		_ = c.Close()
		t.Error("an authority has signed it")
	}
}
