package main

import (
	"slices"
	"strings"
	"testing"
)

func TestMembersHaveAddressesInsteadOfSockets(t *testing.T) {
	for line, want := range map[string]string{
		"--listen-peer-urls=unix://localhost:3 --initial-cluster a=unix://localhost:3,b=unixs://localhost:4 --listen-client-urls unix:///s": "--listen-peer-urls=http://localhost:3 " +
			"--initial-cluster a=http://localhost:3,b=https://localhost:4 --listen-client-urls unix:///s",
		"--version --name a --peer-auto-tls --listen-peer-urls https://localhost:2": "",
		"--initial-cluster": "",
	} {
		if want == "" {
			want = line
		}
		args := strings.Fields(line)
		if got := members(args); !slices.Equal(got, strings.Fields(want)) || !slices.Equal(args, strings.Fields(line)) {
			t.Errorf("%s\n%q", line, got)
		}
	}
}
