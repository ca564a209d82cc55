package txn

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/client"
)

func TestLinesAndJSONMeanTheSame(t *testing.T) {
	for what, x := range map[string]struct {
		lines, json string
		want        Transaction
	}{
		"every condition": {
			`if
			   value "a b" = "x\xff"
			   version lock != 0
			   create prefix jobs/ < 7
			   mod span a z > 3
			   lease from q = 5f
			   missing all
			   exists lock`,
			`{"if":[{"key":"a b","target":"value","relation":"=","valueBase64":"eP8="},{"key":"lock","target":"version","relation":"!=","number":"0"},
			  {"key":"jobs/","range":"prefix","target":"create","relation":"<","number":"7"},{"key":"a","range":"span","end":"z","target":"mod","relation":">","number":"3"},
			  {"key":"q","range":"from","target":"lease","relation":"=","number":"5f"},{"range":"all","target":"create","relation":"=","number":"0"},
			  {"key":"lock","target":"create","relation":">","number":"0"}]}`,
			Transaction{If: []client.Cond{
				client.Value(client.Key("a b"), []byte("x\xff")).Is(), client.Version(client.Key("lock"), 0).IsNot(), client.CreateRevision(client.Prefix("jobs/"), 7).Below(),
				client.ModRevision(client.Span("a", "z"), 3).Above(), client.LeaseOf(client.From("q"), 0x5f).Is(), client.Missing(client.All()), client.Exists("lock"),
			}},
		},
		"every operation": {
			`# a comment
			then
			  put a ""
			  put b "# no comment" lease 5f prev
			  put c ignore-value ignore-lease
			  get a
			  get prefix "b" limit 3 revision 9 keys-only count
			  get all count-only
			  del a
			  del span b c prev
			else
			  txn
			    if
			      exists a
			    then
			      put prefix from
			  end
			  del "prefix"`,
			`{"then":[{"put":{"key":"a"}},{"put":{"key":"b","value":"# no comment","lease":"5f","prev":true}},{"put":{"key":"c","ignoreValue":true,"ignoreLease":true}},
			  {"get":{"key":"a"}},{"get":{"key":"b","range":"prefix","limit":3,"revision":"9","keysOnly":true,"count":true}},{"get":{"range":"all","countOnly":true}},
			  {"del":{"key":"a"}},{"del":{"key":"b","range":"span","end":"c","prev":true}}],
			  "else":[{"txn":{"if":[{"key":"a","target":"create","relation":">","number":"0"}],"then":[{"put":{"key":"prefix","value":"from"}}]}},{"del":{"keyBase64":"cHJlZml4"}}]}`,
			Transaction{
				Then: []client.Op{
					client.OpPut("a", []byte{}), client.OpPut("b", []byte("# no comment"), client.WithLease(0x5f), client.WithPrevKV()),
					client.OpPut("c", []byte{}, client.WithIgnoreValue(), client.WithIgnoreLease()), client.OpGet("a"),
					client.OpRange(client.Prefix("b"), client.WithLimit(3), client.WithRevision(9), client.WithKeysOnly(), client.WithCount()),
					client.OpRange(client.All(), client.WithCountOnly()), client.OpDelete(client.Key("a")), client.OpDelete(client.Span("b", "c"), client.WithPrevKV()),
				},
				Else: []client.Op{
					client.OpTxn([]client.Cond{client.Exists("a")}, []client.Op{client.OpPut("prefix", []byte("from"))}, nil), client.OpDelete(client.Key("prefix")),
				},
			},
		},
	} {
		for form, text := range map[string]string{"lines": x.lines, "JSON": x.json} {
			d, err := Read(strings.NewReader(text))
			if err != nil {
				t.Errorf("%s in %s: %v", what, form, err)
				continue
			}
			got, err := d.Build()
			if err != nil || !reflect.DeepEqual(got, x.want) {
				t.Errorf("%s in %s:\n%+v, %v\nwant\n%+v", what, form, got, err, x.want)
			}
			// Whatever was read can be written as JSON and means the same.
			again, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			if d, err = Read(strings.NewReader(string(again))); err != nil {
				t.Errorf("%s in %s, written anew as %s: %v", what, form, again, err)
			} else if got, err = d.Build(); err != nil || !reflect.DeepEqual(got, x.want) {
				t.Errorf("%s in %s, written anew as %s: %+v, %v", what, form, again, got, err)
			}
		}
	}
}

func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "the transaction is empty",
		"# only a comment":                "the transaction is empty",
		"put a b":                         "line 1: a transaction begins with",
		"then\nput":                       "line 2: a key is missing",
		"then\nput a":                     "line 2: a value is missing",
		"then\nput a b c":                 `line 2: "c" is not expected here`,
		"then\nput a b lease":             "line 2: the lease is missing",
		"then\nput a b lease zz":          "operation 1: lease \"zz\"",
		"then\nput \"\" b":                "operation 1: the key is empty",
		"then\nfrob a":                    "line 2: an operation begins with",
		"then\n\"put\" a b":               "line 2: an operation begins with",
		"then\nget a limit x":             `line 2: limit "x" is not a number`,
		"then\nget a revision -1":         `line 2: revision "-1" is not a number`,
		"then\nget span a":                "line 2: the end of the span is missing",
		"then\nget span a \"\"":           "a span needs an end",
		"then\ndel a b":                   `line 2: "b" is not expected here`,
		"then\nput a \"b":                 "line 2: a quote has no end",
		"then\nput a \"b\"c":              "line 2: there is no space behind",
		"then\nput a b\"c\"":              "line 2: a quote within the word",
		"then\nput a \"\\q\"":             "line 2: a quote has no end, or an escape is wrong",
		"then extra":                      `line 1: "extra" is not expected here`,
		"then\nelse\nthen":                `line 3: "then" comes once`,
		"then\nif":                        `line 2: "if" comes once, and in the order`,
		"if\nput a b":                     "line 2: a condition begins with",
		"if\nvalue a":                     "line 2: behind the key comes",
		"if\nvalue a =":                   "line 2: what it is compared with is missing",
		"if\nversion a = x":               `condition 1: "x" is not a number`,
		"if\nexists prefix a":             "line 2: exists takes one key",
		"then\ntxn\nthen\nput a b":        "has no end",
		"then\ntxn":                       "line 2: the txn has no end",
		"then\nend":                       "line 2: an operation begins with",
		strings.Repeat("then\ntxn\n", 20): "nested deeper than 16",
		`{"when":[]}`:                     `unknown field "when"`,
		`{} {}`:                           "something behind",
		`{"then":[{}]}`:                   "then: operation 1: must be one of put, get, del and txn",
		`{"then":[{"put":{"key":"a"},"get":{"key":"a"}}]}`:                                           "must be one of",
		`{"then":[{"get":{"key":"a","range":"until"}}]}`:                                             `range "until"`,
		`{"then":[{"get":{"key":"a","range":"all"}}]}`:                                               "the range all takes no key",
		`{"then":[{"get":{"key":"a","end":"b"}}]}`:                                                   "an end is for the range span only",
		`{"if":[{"key":"a","target":"size","relation":"=","number":"1"}]}`:                           `target "size"`,
		`{"if":[{"key":"a","target":"mod","relation":"~","number":"1"}]}`:                            `relation "~"`,
		`{"if":[{"key":"a","target":"mod","relation":"=","value":"1"}]}`:                             "is compared with a number",
		`{"if":[{"key":"a","target":"value","relation":"=","number":"1"}]}`:                          "not with a number",
		`{"then":` + strings.Repeat(`[{"txn":{"then":`, 20) + `[]` + strings.Repeat(`}}]`, 20) + `}`: "nested deeper than 16",
	} {
		d, err := Read(strings.NewReader(text))
		if err == nil {
			_, err = d.Build()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
	if _, err := Read(strings.NewReader(strings.Repeat("#", MaxBytes+1))); err == nil || !strings.Contains(err.Error(), "more than 16 MiB") {
		t.Errorf("too much: %v", err)
	}
}

func TestTheSyntaxInTheHelpIsRight(t *testing.T) {
	lines, inJSON, ok := strings.Cut(Syntax, "The same in JSON")
	if !ok {
		t.Fatal("the help shows no JSON")
	}
	// What stands apart at the end of a line explains it.
	var program strings.Builder
	for l := range strings.Lines(lines) {
		if code, ok := strings.CutPrefix(strings.TrimRight(l, "\n"), "  "); ok {
			code, _, _ = strings.Cut(code+"     ", "     ")
			program.WriteString(code + "\n")
		}
	}
	text := program.String()
	for _, comment := range []string{"options: lease ID, ignore-value, ignore-lease, prev", "options: limit N, revision N, keys-only, count-only, count", "options: prev",
		"a transaction within: its own if, then, else, up to", "quoted as in Go: \"tab\\there\", \"\\xff\\x00\"", "words with spaces are quoted as in Go: \"tab\\there\", \"\\xff\\x00\"",
		"of a range: every key that exists in it; prefix P, from K, span K END, all", "leases are hexadecimal", "shorthand for: create other = 0", "shorthand for: create lock > 0"} {
		text = strings.ReplaceAll(text, comment, "")
	}
	if d, err := Parse(text); err != nil {
		t.Errorf("the lines of the help: %v\n%s", err, text)
	} else if _, err := d.Build(); err != nil || len(d.If) != 6 || len(d.Then) != 4 || len(d.Else) != 1 {
		t.Errorf("the lines of the help: %v, %+v", err, d)
	}
	d, err := Read(strings.NewReader(inJSON[strings.Index(inJSON, "{"):]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Build(); err != nil || len(d.Else) != 3 {
		t.Errorf("the JSON of the help: %v, %+v", err, d)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"if\n exists a\nthen\n put a \"b\"\nelse\n txn\n then\n get prefix x limit 3\n end\n", `{"then":[{"put":{"key":"a","value":"b"}}]}`, "then\n del all", "\"", "if\n lease a = 5f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		first, err := d.Build()
		if err != nil {
			return
		}
		encoded, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if d, err = Read(strings.NewReader(string(encoded))); err != nil {
			t.Fatalf("%q became %s: %v", text, encoded, err)
		}
		if second, err := d.Build(); err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%q became %s: %+v, %v; was %+v", text, encoded, second, err, first)
		}
	})
}
