package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

func TestFlagsOfTheChartAreUnderstood(t *testing.T) {
	o, err := parseOptions([]string{"--leader-elect", "--node-image=registry.example/raftkv/node:1", "--metrics-bind-address=:1",
		"--health-probe-bind-address=:2", "--log-level=debug", "--leader-election-id=shop.raftkv.io", "--watch-namespaces=a, b,", "--kube-api-qps=50", "--kube-api-burst=60"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := options{metricsAddress: ":1", healthAddress: ":2", leaderElect: true, leaseName: "shop.raftkv.io", namespaces: []string{"a", "b"},
		nodeImage: "registry.example/raftkv/node:1", logLevel: "debug", logFormat: "json", qps: 50, burst: 60}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("got %+v, want %+v", o, want)
	}
}

func TestBadFlagsAreRefusedWithWhatIsAllowed(t *testing.T) {
	for args, want := range map[string]string{
		"--log-level=loud":       "debug, info, warn or error",
		"--log-format=xml":       "json or text",
		"--node-image=":          "must not be empty",
		"start":                  "takes flags only",
		"--no-such-flag=yes":     "not defined",
		"--watch-namespaces=*":   "no name of a namespace",
		"--watch-namespaces=a b": "no name of a namespace",
		"--kube-api-qps=-1":      "must be 0, which is no bound, or more",
		"--kube-api-qps=NaN":     "must be 0, which is no bound, or more",
		"--kube-api-qps=5000":    "must be at least --kube-api-qps",
		"--kube-api-burst=0":     "must be at least --kube-api-qps",
		"--leader-election-id=":  "must be the name of a Lease",
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

// Each client that is made from the configuration has a limiter of its own, one for each kind of object, unless it is given one.
func TestAllRequestsShareOneBound(t *testing.T) {
	bounded, free := &rest.Config{QPS: 5}, &rest.Config{QPS: 5}
	options{qps: 50, burst: 60}.limit(bounded)
	if l := rest.CopyConfig(bounded).RateLimiter; l == nil || l != bounded.RateLimiter || l.QPS() != 50 {
		t.Errorf("got limiter %v, want one of 50 a second that copies share", l)
	}
	(options{}).limit(free)
	if free.RateLimiter != nil || free.QPS >= 0 {
		t.Errorf("got limiter %v and %v requests a second, want no bound", free.RateLimiter, free.QPS)
	}
}

// What the API server says of an eviction reaches the operator at once, and does not have a client sleep for ten seconds.
func TestNoClientWaitsForAnEviction(t *testing.T) {
	var config rest.Config
	options{}.limit(&config)
	server := roundTripper(func(*http.Request) *http.Response {
		return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"10"}}, Body: http.NoBody}
	})
	for path, want := range map[string]string{"/api/v1/namespaces/shop/pods/demo-1/eviction": "", "/api/v1/namespaces/shop/pods": "10"} {
		response, err := config.WrapTransport(server).RoundTrip(httptest.NewRequest(http.MethodPost, "http://server"+path, nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := response.Header.Get("Retry-After"); got != want || response.Body.Close() != nil {
			t.Errorf("%s: come again in %q seconds, want %q", path, got, want)
		}
	}
}

type roundTripper func(*http.Request) *http.Response

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	return f(request), nil
}
