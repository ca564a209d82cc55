package command

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Revisions, and with them the widths of columns, differ between runs of the tests.
var (
	number = regexp.MustCompile(`\b\d+\b`)
	gap    = regexp.MustCompile(`  +`)
)

// normal is output with N for each number and two spaces between columns.
func normal(out string) string { return gap.ReplaceAllString(number.ReplaceAllString(out, "N"), "  ") }

func TestPutGetDel(t *testing.T) {
	if out := raftctl(t, "put", "keys/a", "one"); !regexp.MustCompile(`^written at revision \d+\n$`).MatchString(out) {
		t.Errorf("put says %q", out)
	}
	raftctlIn(t, "two\nlines", "put", "keys/b")
	raftctlIn(t, "from -", "put", "keys/c", "-")
	if out := raftctl(t, "get", "keys/b", "--raw"); out != "two\nlines" {
		t.Errorf("the raw value is %q", out)
	}
	out := normal(raftctl(t, "get", "keys/", "--prefix"))
	if want := "KEY  VALUE  MODIFIED  VERSION  LEASE\nkeys/a  one  N  N  -\nkeys/b  \"two\\nlines\"  N  N  -\nkeys/c  from -  N  N  -\n"; out != want {
		t.Errorf("a range is shown as\n%swant\n%s", out, want)
	}
	type item struct{ Key, Value, ModRevision string }
	type list struct {
		Items []item
		More  bool
	}
	got := decode[list](t, raftctl(t, "get", "keys/a", "keys/c", "-o", "json", "--descending", "--limit=1"))
	if len(got.Items) != 1 || got.Items[0].Key != "keys/b" || !got.More {
		t.Errorf("a range with an end, from the greatest down: %+v", got)
	}
	if out := raftctl(t, "get", "--from", "keys/a", "--limit", "3", "--count-only"); out == "" || out == "0\n" {
		t.Errorf("a count: %q", out)
	}
	if out := raftctl(t, "get", "--prefix", "keys/", "--keys-only", "--sort-by", "mod", "--descending"); !regexp.MustCompile(`(?s)^KEY +MODIFIED +VERSION +LEASE\nkeys/c .*keys/b .*keys/a `).MatchString(out) {
		t.Errorf("keys by their last write: %q", out)
	}
	if s := attempt(t, "", "get", "keys/none"); s.code != ExitNotFound || s.err != "raftctl: there is no key keys/none\n" || s.out != "" {
		t.Errorf("a key that is not there: %+v", s)
	}
	if out := raftctl(t, "get", "--prefix", "keys/none"); out != "KEY  VALUE  MODIFIED  VERSION  LEASE\n" {
		t.Errorf("an empty range: %q", out)
	}

	before := decode[list](t, raftctl(t, "get", "keys/a", "-o", "json")).Items[0].ModRevision
	if out := raftctl(t, "put", "keys/a", "two", "--prev"); !strings.Contains(out, "before:\n") || !strings.Contains(out, "one") {
		t.Errorf("put --prev says %q", out)
	}
	if out := raftctl(t, "get", "keys/a", "--revision", before, "--raw"); out != "one" {
		t.Errorf("at revision %s it is %q", before, out)
	}
	if out := raftctl(t, "get", "keys/a", "--serializable", "--raw"); out != "two" && out != "one" {
		t.Errorf("one member has %q", out)
	}
	if out := raftctl(t, "del", "keys/a", "--prev"); !strings.HasPrefix(out, "deleted 1 key\n") || !strings.Contains(out, "two") {
		t.Errorf("del says %q", out)
	}
	if out := raftctl(t, "del", "--prefix", "keys/"); out != "deleted 2 keys\n" {
		t.Errorf("del --prefix says %q", out)
	}
	if out := raftctl(t, "del", "keys/a"); out != "deleted 0 keys\n" {
		t.Errorf("del of what is gone says %q", out)
	}
}

func TestBytesOfAnyKindSurvive(t *testing.T) {
	raftctl(t, "put", "--hex", "ff0061", "00ff")
	type list struct {
		Items []struct {
			Key         string
			KeyBase64   []byte
			Value       string
			ValueBase64 []byte
		}
	}
	got := decode[list](t, raftctl(t, "get", "--hex", "ff0061", "-o", "json")).Items[0]
	if got.Key != "ff0061" || got.Value != "00ff" {
		t.Errorf("in hexadecimal: %+v", got)
	}
	got = decode[list](t, raftctl(t, "get", "--from", "\xff", "-o", "json")).Items[0]
	if string(got.KeyBase64) != "\xff\x00a" || string(got.ValueBase64) != "\x00\xff" {
		t.Errorf("in base64: %+v", got)
	}
	if out := raftctl(t, "get", "--from", "\xff"); !strings.Contains(out, `"\xff\x00a"`) || !strings.Contains(out, `"\x00\xff"`) {
		t.Errorf("in a table: %q", out)
	}
	raftctlIn(t, "beef\n", "put", "--hex", "ff0061")
	if out := raftctl(t, "get", "--hex", "ff0061", "--raw"); out != "\xbe\xef" {
		t.Errorf("hexadecimal from standard input: %q", out)
	}
	raftctl(t, "del", "--hex", "ff0061")
}

func TestTxn(t *testing.T) {
	lines := "if\n missing txn/lock\nthen\n put txn/lock \"host 7\"\n get prefix txn/\nelse\n get txn/lock\n txn\n  if\n   value txn/lock = \"host 7\"\n  then\n   del txn/lock prev\n end\n"
	out := normal(raftctlIn(t, lines, "txn"))
	if want := "the conditions hold: then; revision N\nN put: written\nN get:\nKEY  VALUE  MODIFIED  VERSION  LEASE\ntxn/lock  host N  N  N  -\n"; out != want {
		t.Errorf("the first time\n%swant\n%s", out, want)
	}
	file := filepath.Join(t.TempDir(), "lock.txn")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	type result struct {
		Succeeded bool
		Results   []struct {
			Operation string
			Txn       struct {
				Succeeded bool
				Results   []struct {
					Deleted string
					Prev    []struct{ Value string }
				}
			}
		}
	}
	got := decode[result](t, raftctl(t, "txn", file, "-o", "json"))
	if got.Succeeded || len(got.Results) != 2 || got.Results[0].Operation != "get" || !got.Results[1].Txn.Succeeded ||
		got.Results[1].Txn.Results[0].Deleted != "1" || got.Results[1].Txn.Results[0].Prev[0].Value != "host 7" {
		t.Errorf("the second time: %+v", got)
	}
	if out := raftctlIn(t, `{"if":[{"key":"txn/lock","target":"version","relation":"=","number":"0"}],"else":[{"get":{"key":"txn/lock"}}]}`, "txn", "-"); !strings.HasPrefix(out, "the conditions hold") {
		t.Errorf("in JSON: %q", out)
	}
	if s := attempt(t, "then\n put a\n", "txn"); s.code != ExitUsage || s.err != "raftctl: standard input: line 2: a value is missing\n" {
		t.Errorf("a mistake: %+v", s)
	}
}

func TestCompact(t *testing.T) {
	type put struct{ Revision string }
	first := decode[put](t, raftctl(t, "put", "compact/a", "1", "-o", "json")).Revision
	second := decode[put](t, raftctl(t, "put", "compact/a", "2", "-o", "json")).Revision
	if out := raftctl(t, "compact", second, "--physical"); out != fmt.Sprintf("the history before revision %s is given up; the store is at %s\n", second, second) {
		t.Errorf("compact says %q", out)
	}
	s := attempt(t, "", "get", "compact/a", "--revision", first)
	if s.code != ExitFailed || !strings.Contains(s.err, "take a later revision") {
		t.Errorf("a read before it: %+v", s)
	}
	if s := attempt(t, "", "compact", "99999999"); s.code != ExitFailed || !strings.Contains(s.err, "take an earlier revision") {
		t.Errorf("a revision to come: %+v", s)
	}
}

func TestLeases(t *testing.T) {
	type lease struct {
		ID               string
		TTLSeconds       int64
		RemainingSeconds int64
		Keys             []string
	}
	if out := raftctl(t, "lease", "grant", "5m", "--id", "5f3a"); out != "lease 5f3a granted for 5m0s\n" {
		t.Errorf("grant says %q", out)
	}
	drawn := decode[lease](t, raftctl(t, "lease", "grant", "600", "-o", "json"))
	if drawn.TTLSeconds != 600 || drawn.ID == "" {
		t.Errorf("grant gave %+v", drawn)
	}
	raftctl(t, "put", "lease/a", "x", "--lease", "5f3a")
	if out := raftctl(t, "get", "lease/a"); !strings.Contains(out, "5f3a") {
		t.Errorf("the key's lease is not shown: %q", out)
	}
	if got := decode[lease](t, raftctl(t, "lease", "timetolive", "5f3a", "--keys", "-o", "json")); got.TTLSeconds != 300 || got.RemainingSeconds < 1 || len(got.Keys) != 1 || got.Keys[0] != "lease/a" {
		t.Errorf("timetolive gave %+v", got)
	}
	if out := raftctl(t, "lease", "list"); !strings.Contains(out, "\n5f3a\n") || !strings.Contains(out, "\n"+drawn.ID+"\n") {
		t.Errorf("list says %q", out)
	}
	if out := raftctl(t, "lease", "keep-alive", "5f3a", "--once"); out != "lease 5f3a renewed for 5m0s\n" {
		t.Errorf("keep-alive says %q", out)
	}
	raftctl(t, "lease", "revoke", "5f3a")
	raftctl(t, "lease", "revoke", drawn.ID)
	if s := attempt(t, "", "get", "lease/a"); s.code != ExitNotFound {
		t.Errorf("the key outlived its lease: %+v", s)
	}
	for _, command := range []string{"keep-alive", "timetolive", "revoke"} {
		if s := attempt(t, "", "lease", command, "5f3a"); s.code != ExitNotFound || !strings.Contains(s.err, "raftctl lease list") {
			t.Errorf("%s of a lease that is gone: %+v", command, s)
		}
	}
}
