package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// store is a key-value store that fails as told.
type store struct {
	mu       sync.Mutex
	values   map[string][]byte
	failures int // requests to answer with 503 first
	refuse   bool
	corrupt  bool
	// loseDeletes: a key is removed and the caller is told that nobody knows.
	loseDeletes bool
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/v1/kv/")
	switch {
	case s.failures > 0:
		s.failures--
		http.Error(w, "no leader", http.StatusServiceUnavailable)
	case s.refuse:
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	case r.Method == http.MethodPut:
		s.values[key], _ = io.ReadAll(r.Body)
	case r.Method == http.MethodDelete && s.values[key] == nil:
		http.Error(w, "no such key", http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(s.values, key)
		if s.loseDeletes {
			http.Error(w, "no answer in time", http.StatusGatewayTimeout)
		}
	default:
		value := s.values[key]
		if s.corrupt {
			value = append([]byte("not "), value...)
		}
		_, _ = w.Write(value)
	}
}

func runCheck(t *testing.T, s *store) error {
	t.Helper()
	s.values = make(map[string][]byte)
	server := httptest.NewServer(s)
	defer server.Close()
	return check(context.Background(), server.URL, io.Discard)
}

func TestCheckWaitsForALeaderAndLeavesNothingBehind(t *testing.T) {
	s := &store{failures: 1}
	if err := runCheck(t, s); err != nil {
		t.Fatal(err)
	}
	if len(s.values) != 0 {
		t.Errorf("left %d keys behind", len(s.values))
	}
}

func TestCheckRepeatsADeleteOfUnknownOutcome(t *testing.T) {
	if err := runCheck(t, &store{loseDeletes: true}); err != nil {
		t.Fatal(err)
	}
}

func TestCheckFailsWhenTheStoreReturnsAnotherValue(t *testing.T) {
	if err := runCheck(t, &store{corrupt: true}); err == nil || !strings.Contains(err.Error(), "and read") {
		t.Errorf("got %v, want an error that shows both values", err)
	}
}

func TestCheckDoesNotRepeatWhatTheStoreRefused(t *testing.T) {
	if err := runCheck(t, &store{refuse: true}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v, want the store's refusal", err)
	}
}
