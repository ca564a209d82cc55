package main

import (
	"slices"
	"strings"
)

// line is a command line of etcd's.
type line struct {
	// args are what the node gets, but for what it listens on for clients if something is secure.
	args []string
	// secure are the host:port of clients with TLS, plain the URLs of those without.
	secure, plain []string
	// cert, key and ca are files; auto makes a certificate; verify asks clients for theirs.
	cert, key, ca string
	auto, verify  bool
}

var (
	// peerSwitches and peerValues are flags of TLS between members.
	peerSwitches = []string{"--peer-client-cert-auth", "--peer-auto-tls"}
	peerValues   = []string{"--peer-cert-file", "--peer-key-file", "--peer-trusted-ca-file"}
	// addressed are flags whose values have addresses of members, or addresses that are told to clients.
	addressed = []string{"--listen-peer-urls", "--initial-advertise-peer-urls", "--initial-cluster", "--advertise-client-urls"}
	listening = []string{"--listen-client-urls", "--listen-client-http-urls"}
)

func parse(args []string) *line {
	l := &line{}
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		next := func() string {
			if joined || i+1 == len(args) {
				return value
			}
			i++
			return args[i]
		}
		switch {
		case slices.Contains(peerSwitches, name):
		case slices.Contains(peerValues, name):
			next()
		case name == "--cert-file":
			l.cert = next()
		case name == "--key-file":
			l.key = next()
		case name == "--trusted-ca-file":
			l.ca = next()
		case name == "--auto-tls":
			l.auto = true
		case name == "--client-cert-auth":
			l.verify = true
		case slices.Contains(listening, name):
			for _, u := range strings.Split(next(), ",") {
				if address, secure := strings.CutPrefix(u, "https://"); secure {
					l.secure = append(l.secure, address)
				} else {
					l.plain = append(l.plain, u)
				}
			}
		case slices.Contains(addressed, name):
			l.args = append(l.args, name+"="+strings.NewReplacer("https://", "http://", "unix://", "http://").Replace(next()))
		default:
			l.args = append(l.args, args[i])
		}
	}
	if len(l.secure) == 0 && len(l.plain) > 0 {
		l.args = append(l.args, "--listen-client-urls="+strings.Join(l.plain, ","))
	}
	return l
}
