package rest

import (
	"strings"
	"testing"
)

func TestLeases(t *testing.T) {
	h := serve(t)
	granted := into[leaseAnswer](t, h.do("POST", "/v1/leases", `{"ttl":"600"}`))
	if granted.ID == 0 || granted.TTL != 600 {
		t.Fatalf("%+v", granted)
	}
	if a := h.do("POST", "/v1/leases", `{"ttl":60,"id":"7"}`); a.body != `{"revision":"1","id":"7","ttl":"60"}`+"\n" {
		t.Errorf("%s", a.body)
	}
	h.want(h.do("POST", "/v1/leases", `{"ttl":"60","id":"7"}`), 409, codeLeaseExists)
	for _, bad := range []string{`{}`, `{"ttl":"0"}`, `{"ttl":"-1"}`, `{"ttl":"18446744073709551615"}`, `{"ttl":"9000000001"}`, `{"ttl":"9","id":"18446744073709551615"}`} {
		h.want(h.do("POST", "/v1/leases", bad), 400, codeInvalid)
	}
	h.want(h.do("PUT", "/v1/kv/k?lease=7", "v"), 200, "")
	h.want(h.do("PUT", "/v1/kv/l?lease=7", "v", "If-None-Match: *"), 200, "")
	h.want(h.do("PUT", "/v1/kv/m?lease=8", "v"), 404, codeLeaseNotFound)
	h.want(h.do("PUT", "/v1/kv/m?lease=0", "v"), 400, codeInvalid)
	h.want(h.do("PUT", "/v1/kv/k?ignoreLease&lease=7", "v"), 400, codeInvalid)
	h.want(h.do("PUT", "/v1/kv/k?ignoreLease", "w"), 200, "")
	if a := h.do("GET", "/v1/kv/k", ""); a.Header.Get(HeaderLease) != "7" || a.body != "w" {
		t.Errorf("%v %q", a.Header, a.body)
	}
	if a := h.do("GET", "/v1/kv/k?prefix", ""); !strings.Contains(a.body, `"lease":"7"`) {
		t.Error(a.body)
	}
	at := into[leaseAnswer](t, h.do("GET", "/v1/leases/7?keys", ""))
	if at.TTL != 60 || at.Remaining == nil || *at.Remaining > 60 || *at.Remaining < 1 || len(at.Keys) != 2 || string(at.Keys[0]) != "k" {
		t.Errorf("%+v", at)
	}
	if a := h.do("GET", "/v1/leases/7", ""); strings.Contains(a.body, "keys") {
		t.Error(a.body)
	}
	all := into[leasesAnswer](t, h.do("GET", "/v1/leases", ""))
	if len(all.Leases) != 2 || all.Leases[0].ID != 7 || all.Leases[1].ID != granted.ID {
		t.Errorf("%+v", all)
	}
	if a := h.do("POST", "/v1/leases/7/keepalive", ""); a.body != `{"revision":"4","id":"7","ttl":"60"}`+"\n" {
		t.Errorf("%s", a.body)
	}
	if a := h.do("DELETE", "/v1/leases/7", ""); a.body != `{"revision":"5","id":"7"}`+"\n" {
		t.Errorf("%s", a.body)
	}
	h.want(h.do("GET", "/v1/kv/k", ""), 404, codeKeyNotFound)
	h.want(h.do("GET", "/v1/leases/7", ""), 404, codeLeaseNotFound)
	h.want(h.do("POST", "/v1/leases/7/keepalive", ""), 404, codeLeaseNotFound)
	h.want(h.do("DELETE", "/v1/leases/7", ""), 404, codeLeaseNotFound)
	for _, bad := range []string{"x", "0", "-1", "9223372036854775808", "7x"} {
		h.want(h.do("GET", "/v1/leases/"+bad, ""), 400, codeInvalid)
	}
	h.want(h.do("GET", "/v1/leases/", ""), 404, codeNotFound)
	h.want(h.do("GET", "/v1/leases/7/keepalive", ""), 405, codeMethod)
	h.want(h.do("GET", "/v1/leases/7/other", ""), 404, codeNotFound)
	if a := h.do("PUT", "/v1/leases/7", ""); a.StatusCode != 405 || a.Header.Get("Allow") != "GET, HEAD, DELETE" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}

func TestListingsAreSortedAndFiltered(t *testing.T) {
	h := serve(t)
	for _, k := range []string{"a", "b", "c", "b"} { // revisions 2 to 5
		h.do("PUT", "/v1/kv/"+k, "z"+k)
	}
	for query, want := range map[string]string{
		"prefix":                  "a b c",
		"end=%00":                 "a b c",
		"end=c":                   "a b",
		"prefix&order=descending": "c b a",
		"prefix&sort=modRevision": "a c b",
		"prefix&sort=modRevision&order=descending":       "b c a",
		"prefix&sort=value&order=descending":             "c b a",
		"prefix&sort=version&limit=2":                    "a c",
		"prefix&minModRevision=4":                        "b c",
		"prefix&maxModRevision=4":                        "a c",
		"prefix&minCreateRevision=3&maxCreateRevision=3": "b",
		"prefix&revision=3":                              "a b",
		"prefix&countOnly":                               "",
	} {
		l := decode(t, h.do("GET", "/v1/kv/?"+query, ""))
		var keys []string
		for _, x := range l.Items {
			keys = append(keys, string(x.Key))
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("%s: %q, it should be %q", query, got, want)
		}
		if (l.Count != nil) != strings.Contains(query, "count") || l.Count != nil && *l.Count != 3 {
			t.Errorf("%s: count %v", query, l.Count)
		}
		if l.More != strings.Contains(query, "limit") || l.Continue != "" {
			t.Errorf("%s: more %t, continue %q", query, l.More, l.Continue)
		}
	}
	l := decode(t, h.do("GET", "/v1/kv/a?end=c&limit=1", ""))
	if l = decode(t, h.do("GET", "/v1/kv/a?end=c&limit=1&continue="+l.Continue, "")); len(l.Items) != 1 || string(l.Items[0].Key) != "b" || l.More {
		t.Errorf("the second page of a range: %+v", l)
	}
	for _, bad := range []string{"prefix&end=c", "end=", "prefix&sort=size", "prefix&order=up", "sort=key", "prefix&minModRevision=0",
		"prefix&sort=value&continue=" + continueWord(5, []byte("b")), "prefix&continue=" + continueWord(5, []byte("b")) + "&revision=3"} {
		h.want(h.do("GET", "/v1/kv/?"+bad, ""), 400, codeInvalid)
	}
	h.want(h.do("GET", "/v1/kv/?end="+strings.Repeat("k", 66), ""), 413, codeKeyTooLarge)
}
