package server

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestTheRoomOfTheStoreIsMeasured as long as it is open.
func TestTheRoomOfTheStoreIsMeasured(t *testing.T) {
	node := staticCluster(t, "a")[0]
	node.mustPut("k", "v")
	served, err := http.Get("http://" + node.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = served.Body.Close() }()
	text, err := io.ReadAll(served.Body)
	if err != nil {
		t.Fatal(err)
	}
	size := map[string]float64{}
	for _, x := range regexp.MustCompile(`(?m)^raftkv_store_([a-z]+)_bytes (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		if size[x[1]], err = strconv.ParseFloat(x[2], 64); err != nil {
			t.Fatal(err)
		}
	}
	if len(size) != 3 || size["used"] <= 0 || size["used"] > size["file"] || size["quota"] <= size["used"] {
		t.Errorf("got %v", size)
	}
}

// TestWhatClientsAskForIsMeasured, whichever way they come.
func TestWhatClientsAskForIsMeasured(t *testing.T) {
	node := staticCluster(t, "a")[0]
	node.mustPut("k", "v")
	answer, err := http.Post("http://"+node.client+"/v3/kv/range", "application/json", strings.NewReader(`{"key": "aw=="}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	watch, err := http.Get("http://" + node.client + "/v1/watch/k")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Body.Close() }()
	served, err := http.Get("http://" + node.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = served.Body.Close() }()
	text, err := io.ReadAll(served.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`raftkv_http_requests_total{api="rest",code="200",method="PUT"}`, `raftkv_http_requests_total{api="gateway",code="200",method="POST"} 1`,
		`raftkv_grpc_calls_total{code="OK",method="etcdserverpb.KV/Range"} 1`, `raftkv_grpc_call_duration_seconds_count{method="etcdserverpb.KV/Range"} 1`,
		`raftkv_watch_streams{api="rest"} 1`,
	} {
		if !strings.Contains(string(text), "\n"+line) {
			t.Errorf("no line %s", line)
		}
	}
}
