package main

import (
	"slices"
	"strings"
	"testing"
)

func TestTLSIsTakenOutOfACommandLine(t *testing.T) {
	l := parse(strings.Fields("--name=a --listen-client-urls=https://localhost:1,http://localhost:2 --advertise-client-urls=https://localhost:1 " +
		"--listen-peer-urls=https://localhost:3 --initial-advertise-peer-urls=unix://localhost:3 --initial-cluster=a=https://localhost:3,b=https://localhost:4 " +
		"--peer-cert-file p --peer-key-file=p --peer-trusted-ca-file p --peer-auto-tls --peer-client-cert-auth " +
		"--cert-file c --key-file=k --trusted-ca-file ca --client-cert-auth --data-dir d --listen-client-http-urls=https://localhost:5"))
	want := strings.Fields("--name=a --advertise-client-urls=http://localhost:1 --listen-peer-urls=http://localhost:3 " +
		"--initial-advertise-peer-urls=http://localhost:3 --initial-cluster=a=http://localhost:3,b=http://localhost:4 --data-dir d")
	if !slices.Equal(l.args, want) {
		t.Errorf("%q\nwant %q", l.args, want)
	}
	if !slices.Equal(l.secure, []string{"localhost:1", "localhost:5"}) || !slices.Equal(l.plain, []string{"http://localhost:2"}) {
		t.Errorf("%q, %q", l.secure, l.plain)
	}
	if l.cert != "c" || l.key != "k" || l.ca != "ca" || !l.verify || l.auto {
		t.Errorf("%+v", l)
	}
}

func TestACommandLineWithoutTLSStaysAsItIs(t *testing.T) {
	args := strings.Fields("--version --name a --listen-client-urls=unix:///s,http://localhost:2")
	if l := parse(args); !slices.Equal(l.args, args) || len(l.secure) > 0 {
		t.Errorf("%q", l.args)
	}
}
