package status

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The front ends over HTTP/1, as the label "api" names them.
const (
	APIREST    = "rest"
	APIGateway = "gateway"
	apiGRPC    = "grpc"
)

// grpcOK is the code of a call that succeeded, as gRPC spells it.
const grpcOK = "OK"

// clientMetrics are those of what clients ask for.
type clientMetrics struct {
	httpRequests *prometheus.CounterVec
	httpSeconds  *prometheus.HistogramVec
	httpInFlight *prometheus.GaugeVec
	grpcCalls    *prometheus.CounterVec
	grpcSeconds  *prometheus.HistogramVec
	grpcStreams  *prometheus.GaugeVec
	watchStreams *prometheus.GaugeVec
	// ok are the counters of successes and the histograms by method, which nearly all calls need.
	ok sync.Map
}

type okCalls struct {
	count   prometheus.Counter
	seconds prometheus.Observer
}

func newClientMetrics(m *Metrics) *clientMetrics {
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: requestBuckets}, labels)
		m.registry.MustRegister(h)
		return h
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
		m.registry.MustRegister(g)
		return g
	}
	return &clientMetrics{
		httpRequests: m.vector("http_requests_total", "Requests over HTTP/1 on the client port, by api: REST, or etcd's JSON gateway.", "api", "method", "code"),
		httpSeconds:  histogram("http_request_duration_seconds", "Time to answer a request over HTTP/1 on the client port, streams left out.", "api", "method"),
		httpInFlight: gauge("http_requests_in_flight", "Requests over HTTP/1 on the client port that are being answered, streams too.", "api"),
		grpcCalls:    m.vector("grpc_calls_total", "Calls of the etcd v3 API that have ended, by gRPC's code; those of the JSON gateway are among them.", "method", "code"),
		grpcSeconds:  histogram("grpc_call_duration_seconds", "Time to answer a call of the etcd v3 API, without streams and calls that wait for other clients.", "method"),
		grpcStreams:  gauge("grpc_streams", "Open streams of the etcd v3 API, and calls that wait for other clients.", "method"),
		watchStreams: gauge("watch_streams", "Open streams of watches, by api: REST, or gRPC with the JSON gateway.", "api"),
	}
}

// HTTP measures the requests of a handler. streams tells which of them go on for as long as the client likes: how long they took says
// nothing.
func (m *Metrics) HTTP(api string, streams func(*http.Request) bool, next http.Handler) http.Handler {
	inFlight := m.clients.httpInFlight.WithLabelValues(api)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inFlight.Inc()
		defer inFlight.Dec()
		begin := time.Now()
		recorder := &codeRecorder{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(recorder, r)
		method := methodLabel(r.Method)
		if !streams(r) {
			m.clients.httpSeconds.WithLabelValues(api, method).Observe(time.Since(begin).Seconds())
		}
		m.clients.httpRequests.WithLabelValues(api, method, strconv.Itoa(recorder.code)).Inc()
	})
}

// methodLabel keeps clients from inventing label values.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete:
		return method
	}
	return "other"
}

type codeRecorder struct {
	http.ResponseWriter
	code int
}

func (c *codeRecorder) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (c *codeRecorder) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Called is called for each call over gRPC that was answered.
func (m *Metrics) Called(method, code string, took time.Duration) {
	c := m.clients
	found, known := c.ok.Load(method)
	if !known {
		found, _ = c.ok.LoadOrStore(method, okCalls{c.grpcCalls.WithLabelValues(method, grpcOK), c.grpcSeconds.WithLabelValues(method)})
	}
	calls, _ := found.(okCalls)
	calls.seconds.Observe(took.Seconds())
	if code == grpcOK {
		calls.count.Inc()
		return
	}
	c.grpcCalls.WithLabelValues(method, code).Inc()
}

// Streaming is called for each call over gRPC that has begun and goes on; watches says that it carries watches. What it returns is
// called at the end.
func (m *Metrics) Streaming(method string, watches bool) (ended func(code string)) {
	streams := m.clients.grpcStreams.WithLabelValues(method)
	streams.Inc()
	notWatching := func() {}
	if watches {
		notWatching = m.watching(apiGRPC)
	}
	return func(code string) {
		streams.Dec()
		notWatching()
		m.clients.grpcCalls.WithLabelValues(method, code).Inc()
	}
}

// Watching is called for each watch over REST; what it returns is called at its end.
func (m *Metrics) Watching() (ended func()) { return m.watching(APIREST) }

func (m *Metrics) watching(api string) func() {
	streams := m.clients.watchStreams.WithLabelValues(api)
	streams.Inc()
	return streams.Dec
}
