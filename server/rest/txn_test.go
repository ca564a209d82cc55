package rest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func into[T any](t *testing.T, a answer) T {
	t.Helper()
	var out T
	decoder := json.NewDecoder(strings.NewReader(a.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&out); err != nil || a.StatusCode != 200 {
		t.Fatalf("%d %q: %v", a.StatusCode, a.body, err)
	}
	return out
}

func TestTransactions(t *testing.T) {
	h := serve(t)
	h.do("PUT", "/v1/kv/a", "1")
	h.do("PUT", "/v1/kv/b", "2")
	// a is 1, and no key behind m exists: b is deleted, a written twice over, all in one revision.
	a := h.do("POST", "/v1/txn", fmt.Sprintf(`{
		"compare": [
			{"key": %[1]q, "target": "value", "relation": "=", "value": %[3]q},
			{"key": %[4]q, "end": "AA==", "target": "version", "relation": "=", "number": "0"}
		],
		"then": [
			{"put": {"key": %[1]q, "value": %[4]q, "prev": true}},
			{"delete": {"key": %[2]q, "prefix": true, "prev": true}},
			{"txn": {
				"compare": [{"key": %[1]q, "target": "modRevision", "relation": ">", "number": 1}],
				"then": [{"get": {"key": "", "prefix": true}}],
				"else": [{"put": {"key": "Yw=="}}]
			}}
		],
		"else": [{"get": {"key": %[1]q}}]
	}`, b64("a"), b64("b"), b64("1"), b64("m")))
	got := into[txnAnswer](t, a)
	if !got.Succeeded || got.Revision != 4 || a.Header.Get(HeaderRevision) != "4" || len(got.Results) != 3 {
		t.Fatalf("%s", a.body)
	}
	put, del, inner := got.Results[0].Put, got.Results[1].Delete, got.Results[2].Txn
	if put == nil || string(put.Prev.Value) != "1" || del == nil || del.Deleted != 1 || string(del.Prev[0].Value) != "2" {
		t.Errorf("%s", a.body)
	}
	if inner == nil || !inner.Succeeded || inner.Revision != 0 {
		t.Fatalf("%s", a.body)
	}
	if items := inner.Results[0].Get.Items; len(items) != 1 || string(items[0].Value) != "m" || items[0].ModRevision != 4 || inner.Results[0].Get.Count != 1 {
		t.Errorf("%s", a.body)
	}
	// The numbers are strings, and a get that finds nothing has a list.
	a = h.do("POST", "/v1/txn?serializable", fmt.Sprintf(`{"compare":[{"key":%[1]q,"target":"lease","relation":"!=","number":"0"}],"else":[{"get":{"key":%[2]q}}]}`, b64("a"), b64("b")))
	if a.body != `{"revision":"4","succeeded":false,"results":[{"get":{"items":[],"more":false,"count":"0"}}]}`+"\n" {
		t.Errorf("%q", a.body)
	}
	h.store.set(func(a *alone) {
		if a.barriers != 0 {
			t.Errorf("%d barriers for a serializable transaction", a.barriers)
		}
	})
}

func TestTransactionsThatAreRefused(t *testing.T) {
	h := serve(t)
	deep := `{}`
	for range kv.MaxTxnDepth {
		deep = `{"then":[{"txn":` + deep + `}]}`
	}
	k := b64("k")
	for name, x := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"nothing":                    {"", 400, codeInvalid},
		"half a document":            {`{"then":[`, 400, codeInvalid},
		"two documents":              {`{}{}`, 400, codeInvalid},
		"no document":                {`what?`, 400, codeInvalid},
		"a list":                     {`[]`, 400, codeInvalid},
		"an unknown field":           {`{"when":[]}`, 400, codeInvalid},
		"a key that is not base64":   {`{"then":[{"put":{"key":"%"}}]}`, 400, codeInvalid},
		"no key":                     {`{"then":[{"put":{}}]}`, 400, codeInvalid},
		"no key to read":             {`{"then":[{"get":{}}]}`, 400, codeInvalid},
		"an empty operation":         {`{"then":[{}]}`, 400, codeInvalid},
		"two operations in one":      {fmt.Sprintf(`{"then":[{"put":{"key":%[1]q},"get":{"key":%[1]q}}]}`, k), 400, codeInvalid},
		"prefix and end":             {fmt.Sprintf(`{"then":[{"get":{"key":%[1]q,"prefix":true,"end":%[1]q}}]}`, k), 400, codeInvalid},
		"a key written twice":        {fmt.Sprintf(`{"then":[{"put":{"key":%[1]q}},{"put":{"key":%[1]q}}]}`, k), 400, codeInvalid},
		"an unknown target":          {fmt.Sprintf(`{"compare":[{"key":%q,"target":"size","relation":"=","number":"1"}]}`, k), 400, codeInvalid},
		"an unknown relation":        {fmt.Sprintf(`{"compare":[{"key":%q,"target":"version","relation":"==","number":"1"}]}`, k), 400, codeInvalid},
		"a comparison with nothing":  {fmt.Sprintf(`{"compare":[{"key":%q,"target":"version","relation":"="}]}`, k), 400, codeInvalid},
		"a value where a number is":  {fmt.Sprintf(`{"compare":[{"key":%[1]q,"target":"version","relation":"=","value":%[1]q}]}`, k), 400, codeInvalid},
		"a number below zero":        {fmt.Sprintf(`{"compare":[{"key":%q,"target":"version","relation":"=","number":"-1"}]}`, k), 400, codeInvalid},
		"half a quoted number":       {fmt.Sprintf(`{"compare":[{"key":%q,"target":"version","relation":"=","number":1.5}]}`, k), 400, codeInvalid},
		"a lease that none can be":   {fmt.Sprintf(`{"then":[{"put":{"key":%q,"lease":"18446744073709551615"}}]}`, k), 400, codeInvalid},
		"a value given and ignored":  {fmt.Sprintf(`{"then":[{"put":{"key":%[1]q,"value":%[1]q,"ignoreValue":true}}]}`, k), 400, codeInvalid},
		"a limit too high":           {fmt.Sprintf(`{"then":[{"get":{"key":%q,"limit":"10001"}}]}`, k), 400, codeInvalid},
		"a lease that is not there":  {fmt.Sprintf(`{"then":[{"put":{"key":%q,"lease":"9"}}]}`, k), 404, codeLeaseNotFound},
		"no value to keep":           {fmt.Sprintf(`{"then":[{"put":{"key":%q,"ignoreValue":true}}]}`, k), 404, codeKeyNotFound},
		"a revision to come":         {fmt.Sprintf(`{"then":[{"get":{"key":%q,"revision":"99"}}]}`, k), 400, codeFuture},
		"too many operations":        {`{"then":[` + strings.Repeat(fmt.Sprintf(`{"get":{"key":%q}},`, k), 16) + fmt.Sprintf(`{"get":{"key":%q}}]}`, k), 413, codeTooLarge},
		"too deep":                   {deep, 413, codeTooLarge},
		"far too deep":               {strings.Repeat(`{"then":[{"txn":`, 1000), 400, codeInvalid},
		"lists in lists":             {strings.Repeat("[", 10_000), 400, codeInvalid},
		"a document that is too big": {`{"then":[{"put":{"key":"aw==","value":"` + strings.Repeat("A", 80_000) + `"}}]}`, 413, codeTooLarge},
		"a request that is too big": {fmt.Sprintf(`{"then":[{"put":{"key":"YQ==","value":%[1]q}},{"put":{"key":"Yg==","value":%[1]q}},{"put":{"key":"Yw==","value":%[1]q}},
			{"put":{"key":"ZA==","value":%[1]q}},{"put":{"key":"ZQ==","value":%[1]q}}]}`, b64(strings.Repeat("v", 1001))), 413, codeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			inner := *h
			inner.t = t
			inner.want(inner.do("POST", "/v1/txn", x.body), x.status, x.code)
		})
	}
	if a := h.do("GET", "/v1/kv/?prefix&count", ""); !strings.Contains(a.body, `"count":"0"`) {
		t.Errorf("something was written: %s", a.body)
	}
}

// TestADocumentOfManyPartsIsRefused before anything is made of it: in memory they would take many times their bytes.
func TestADocumentOfManyPartsIsRefused(t *testing.T) {
	for _, part := range []string{"{},", "null,", "[],", "0,"} {
		var p *problem
		var to txnDocument
		err := parseDocument([]byte(`{"then":[`+strings.Repeat(part, maxDocumentParts)+`{}]}`), &to)
		if !errors.As(err, &p) || p.Code != codeTooLarge || to.Then != nil {
			t.Errorf("%s: %v, %d operations", part, err, len(to.Then))
		}
	}
	// What is quoted is no part.
	text := strings.Repeat(`{[,\"`, maxDocumentParts)
	if err := checkShape([]byte(`{"` + text + `":"` + text + `"}`)); err != nil {
		t.Error(err)
	}
}

// TestAConditionalWriteThatIsRepeatedIsAnswered with the outcome of the first time, which is all that it needs; one that asks for more
// is of unknown outcome.
func TestAConditionalWriteThatIsRepeatedIsAnswered(t *testing.T) {
	h := serve(t)
	h.store.set(func(a *alone) { a.repeated = true })
	h.want(h.do("PUT", "/v1/kv/k", "1", "If-None-Match: *"), 200, "")
	a := h.do("PUT", "/v1/kv/k", "2", "If-None-Match: *")
	h.want(a, 412, codePrecondition)
	if !strings.Contains(a.body, `"modRevision":"2"`) {
		t.Error(a.body)
	}
	h.want(h.do("DELETE", "/v1/kv/k", "", "If-Match: *"), 200, "")
	h.want(h.do("PUT", "/v1/kv/k?prev", "1", "If-None-Match: *"), 504, codeUnknown)
	h.want(h.do("POST", "/v1/txn", `{"then":[{"put":{"key":"aw=="}}]}`), 504, codeUnknown)
}

func TestWritesReturnWhatWasThere(t *testing.T) {
	h := serve(t)
	if a := h.do("PUT", "/v1/kv/k?prev", "1"); a.body != `{"revision":"2","modRevision":"2"}`+"\n" {
		t.Errorf("a new key: %s", a.body)
	}
	want := `"prev":{"key":"aw==","value":"MQ==","createRevision":"2","modRevision":"2","version":"1"}`
	if a := h.do("PUT", "/v1/kv/k?prev", "2"); !strings.Contains(a.body, want) {
		t.Errorf("%s", a.body)
	}
	if a := h.do("PUT", "/v1/kv/k?prev", "3", `If-Match: "3"`); !strings.Contains(a.body, `"value":"Mg=="`) {
		t.Errorf("%s", a.body)
	}
	h.want(h.do("PUT", "/v1/kv/k?ignoreValue", "4"), 400, codeInvalid)
	if a := h.do("PUT", "/v1/kv/k?ignoreValue", ""); a.StatusCode != 200 || h.do("GET", "/v1/kv/k", "").body != "3" {
		t.Errorf("a put that keeps the value: %s", a.body)
	}
	if a := h.do("DELETE", "/v1/kv/k?prev", ""); !strings.Contains(a.body, `"value":"Mw=="`) {
		t.Errorf("%s", a.body)
	}
}

func TestCompaction(t *testing.T) {
	h := serve(t)
	for range 3 {
		h.do("PUT", "/v1/kv/k", "v")
	}
	if a := h.do("POST", "/v1/compact", `{"revision":"3","physical":true}`); a.body != `{"revision":"4"}`+"\n" {
		t.Error(a.body)
	}
	h.want(h.do("GET", "/v1/kv/k?revision=2", ""), 410, codeCompacted)
	h.want(h.do("GET", "/v1/kv/k?revision=3", ""), 200, "")
	h.want(h.do("POST", "/v1/compact", `{"revision":"3"}`), 410, codeCompacted)
	h.want(h.do("POST", "/v1/compact", `{"revision":"9"}`), 400, codeFuture)
	h.want(h.do("POST", "/v1/compact", `{}`), 400, codeInvalid)
}

// TestAnOlderClusterSaysWhatItDoesNotKnow yet.
func TestAnOlderClusterSaysWhatItDoesNotKnow(t *testing.T) {
	store := newStore(t, 1)
	h := &harness{t: t, store: store, server: startServer(t, store)}
	h.want(h.do("POST", "/v1/leases", `{"ttl":"60"}`), 501, codeUnsupported)
	h.want(h.do("PUT", "/v1/kv/k", "v"), 200, "")
}

var _ backend.Store = (*alone)(nil)

// A version that was replaced and has no room in the answer is not told as if there had been none.
func TestAnAnswerTellsWhatItLeavesOut(t *testing.T) {
	txn := &kv.Txn{Success: []kv.Op{kv.PutOp([]byte("k"), nil), kv.DeleteOp(kv.All())}}
	left := []kv.OpResult{{PrevTruncated: true}, {Deleted: 2, PrevTruncated: true}}
	got, err := json.Marshal(txnAnswerOf(txn, &kv.TxnResult{Succeeded: true, Ops: left}))
	if want := `{"succeeded":true,"results":[{"put":{"prevTruncated":true}},{"delete":{"deleted":"2","prevTruncated":true}}]}`; err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}
