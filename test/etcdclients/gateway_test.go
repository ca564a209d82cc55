package etcdclients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// post asks the JSON gateway, as a program without gRPC does, and returns the answer's status and fields.
func post(ctx context.Context, t *testing.T, n *node, path string, body any) (int, map[string]any) {
	t.Helper()
	data := must(json.Marshal(body))(t)
	request := must(http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.client+"/v3/"+path, bytes.NewReader(data)))(t)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	out := map[string]any{}
	if text := must(io.ReadAll(response.Body))(t); json.Unmarshal(text, &out) != nil {
		t.Fatalf("%s: %d %s", path, response.StatusCode, text)
	}
	return response.StatusCode, out
}

func in64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

type fields map[string]any

func TestGateway(t *testing.T) {
	ctx, n := within(t), shared.nodes[0]
	name := fresh(t)
	if code, r := post(ctx, t, n, "kv/put", fields{"key": in64(name), "value": in64("v")}); code != 200 || r["header"].(map[string]any)["revision"] == "" {
		t.Fatalf("put: %d %v", code, r)
	}
	code, r := post(ctx, t, n, "kv/range", fields{"key": in64(name)})
	kvs, _ := r["kvs"].([]any)
	if code != 200 || r["count"] != "1" || len(kvs) != 1 || kvs[0].(map[string]any)["value"] != in64("v") || kvs[0].(map[string]any)["version"] != "1" {
		t.Fatalf("range: %d %v", code, r)
	}
	code, r = post(ctx, t, n, "kv/txn", fields{
		"compare": []fields{{"key": in64(name), "target": "VALUE", "result": "EQUAL", "value": in64("v")}},
		"success": []fields{{"request_put": fields{"key": in64(name), "value": in64("w")}}, {"request_range": fields{"key": in64(name)}}},
	})
	if code != 200 || r["succeeded"] != true {
		t.Errorf("txn: %d %v", code, r)
	}
	code, r = post(ctx, t, n, "lease/grant", fields{"TTL": "60", "ID": "4711"})
	if code != 200 || r["ID"] != "4711" || r["TTL"] != "60" {
		t.Errorf("lease: %d %v", code, r)
	}
	if code, r = post(ctx, t, n, "lease/revoke", fields{"ID": "4711"}); code != 200 {
		t.Errorf("revoke: %d %v", code, r)
	}
	code, r = post(ctx, t, n, "cluster/member/list", fields{})
	if list, _ := r["members"].([]any); code != 200 || len(list) != members {
		t.Errorf("members: %d %v", code, r)
	}
	if code, r = post(ctx, t, n, "maintenance/status", fields{}); code != 200 || r["version"] == nil {
		t.Errorf("status: %d %v", code, r)
	}
	code, r = post(ctx, t, n, "kv/range", fields{"key": in64(name), "revision": "123456789"})
	if code != 400 || r["message"] != "etcdserver: mvcc: required revision is a future revision" || r["code"] != float64(11) {
		t.Errorf("a refusal: %d %v", code, r)
	}
	if code, r = post(ctx, t, n, "kv/put", fields{"key": in64(name), "value": strings.Repeat("A", 8<<20)}); code == 200 {
		t.Errorf("what is too large: %d %v", code, r)
	}
	if code, _ = post(ctx, t, n, "kv/nothing", fields{}); code != 404 {
		t.Errorf("no such call: %d", code)
	}
}

// TestGatewayWatch: the request ends, the answers go on, one object a line.
func TestGatewayWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	name := fresh(t)
	body := fmt.Sprintf(`{"create_request": {"key": %q}}`, in64(name))
	request := must(http.NewRequestWithContext(ctx, http.MethodPost, "http://"+shared.nodes[1].client+"/v3/watch", strings.NewReader(body)))(t)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"created":true`) {
		t.Fatalf("%s, %v", lines.Text(), lines.Err())
	}
	c := shared.dial(t)
	for i := range 3 {
		value := fmt.Sprint("value", i)
		_ = must(c.Put(ctx, name, value))(t)
		if !lines.Scan() || !strings.Contains(lines.Text(), in64(value)) {
			t.Fatalf("%s, %v", lines.Text(), lines.Err())
		}
	}
}
