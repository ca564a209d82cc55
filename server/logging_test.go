package server

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/server/config"
)

func TestEveryLineSaysWhoAndWhere(t *testing.T) {
	var out bytes.Buffer
	role := ""
	l := newLogger(&out, config.Config{Name: "a", LogFormat: config.LogJSON}, func() (uint64, string) { return 7, role })
	l.Info("empty")
	role = "leader"
	l.With("node", "a", "member", "1").Info("member")
	l.Info("transition", "term", 8, "role", "follower")
	l.Debug("unseen")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("lines: %q", lines)
	}
	for i, want := range []map[string]any{
		{"node": "a", "term": nil, "role": nil},
		{"node": "a", "member": "1", "term": 7.0, "role": "leader"},
		{"node": "a", "term": 8.0, "role": "follower"},
	} {
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatal(err)
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("line %q: %s is %v, want %v", lines[i], key, got[key], value)
			}
		}
		if strings.Count(lines[i], `"node"`) != 1 || strings.Count(lines[i], `"term"`) > 1 {
			t.Errorf("a field twice: %q", lines[i])
		}
	}
	out.Reset()
	text := newLogger(&out, config.Config{Name: "a", LogFormat: config.LogText, LogLevel: slog.LevelDebug}, func() (uint64, string) { return 1, "leader" })
	text.WithGroup("g").Debug("x")
	if !strings.Contains(out.String(), "node=a") {
		t.Errorf("text: %q", out.String())
	}
}

func TestListenersOpenAllOrNone(t *testing.T) {
	open, err := listen("peers", []config.Listen{{Address: "127.0.0.1:0"}, {Address: "[::]:0"}})
	if err != nil || len(open) != 2 {
		t.Fatal(open, err)
	}
	defer closeAll(open)
	taken := open[0].Addr().String()
	if _, err := listen("peers", []config.Listen{{Address: "127.0.0.1:0"}, {Address: taken}}); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("a taken address: %v", err)
	}
}
