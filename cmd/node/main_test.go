package main

import (
	"bytes"
	"strings"
	"testing"
)

func run(args ...string) (string, error) {
	var out bytes.Buffer
	c := command()
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.Execute()
	return out.String(), err
}

func TestHelpIsInGroupsWithExamples(t *testing.T) {
	text, err := run("--help")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Examples:", "--initial-cluster a=http://127.0.0.1:2380", "Listeners (nothing is opened", "--admin-token-file", "RAFTKV_DATA_DIR", "raftkv-node version"} {
		if !strings.Contains(text, want) {
			t.Errorf("the help lacks %q", want)
		}
	}
}

func TestVersion(t *testing.T) {
	if text, err := run("version"); err != nil || !strings.HasPrefix(text, "raftkv-node "+version+" go") {
		t.Errorf("%q, %v", text, err)
	}
}

func TestBadUseIsRefused(t *testing.T) {
	for _, args := range [][]string{{}, {"--no-such-flag"}, {"stray"}, {"--name=a", "--heartbeat-interval=x"}} {
		if _, err := run(args...); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}
