package main

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestFlagsOfTheChartAreUnderstood(t *testing.T) {
	o, err := parseOptions([]string{"--leader-elect", "--node-image=registry.example/raftkv/node:1", "--metrics-bind-address=:1",
		"--health-probe-bind-address=:2", "--log-level=debug", "--watch-namespaces=a, b,"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := options{metricsAddress: ":1", healthAddress: ":2", leaderElect: true, namespaces: []string{"a", "b"},
		nodeImage: "registry.example/raftkv/node:1", logLevel: "debug", logFormat: "json"}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("got %+v, want %+v", o, want)
	}
}

func TestBadFlagsAreRefusedWithWhatIsAllowed(t *testing.T) {
	for args, want := range map[string]string{
		"--log-level=loud":   "debug, info, warn or error",
		"--log-format=xml":   "json or text",
		"--node-image=":      "must not be empty",
		"start":              "takes flags only",
		"--no-such-flag=yes": "not defined",
	} {
		if _, err := parseOptions([]string{args}, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", args, err, want)
		}
	}
}

func TestLoggerHonoursLevelAndFormat(t *testing.T) {
	var b bytes.Buffer
	log := newLogger("info", "json", &b)
	log.V(4).Info("hidden")
	log.Info("shown", "cluster", "demo")
	if got := b.String(); strings.Contains(got, "hidden") || !strings.Contains(got, `"cluster":"demo"`) {
		t.Errorf("got log %q", got)
	}
}
