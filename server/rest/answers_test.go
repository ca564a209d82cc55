package rest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/server/answers"
)

// stalled is a client that takes nothing until goOn is closed.
type stalled struct {
	*httptest.ResponseRecorder
	begun, goOn chan struct{}
}

func (s *stalled) Write(b []byte) (int, error) {
	s.begun <- struct{}{}
	<-s.goOn
	return s.ResponseRecorder.Write(b)
}

// Clients that take their answers slowly, or not at all, cost a bounded memory all together: others are refused in words, and what they have written is not called undone.
func TestAnswersThatAreNotTakenAreBoundedTogether(t *testing.T) {
	store := newStore(t, wholeCluster)
	h := handler(store)
	t.Cleanup(h.Stop)
	const most = 64 << 10
	h.answers = answers.New(most, answers.DefaultPatience)
	ask := func(w http.ResponseWriter, method, target, body string) {
		h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	}
	want := func(status int, code, method, target, body string) {
		t.Helper()
		w := httptest.NewRecorder()
		ask(w, method, target, body)
		a := answer{w.Result(), w.Body.String()}
		if a.StatusCode != status || code != "" && a.code() != code {
			t.Errorf("%s %s: %d %.200s, want %d %q", method, target, a.StatusCode, a.body, status, code)
		}
	}
	for i := range most / 1000 / documentWeight {
		want(200, "", "PUT", fmt.Sprintf("/v1/kv/k%d", i), strings.Repeat("v", 1000))
	}
	slow := &stalled{httptest.NewRecorder(), make(chan struct{}, 1), make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ask(slow, "GET", "/v1/kv/?prefix", "")
	}()
	<-slow.begun
	want(503, codeBusy, "GET", "/v1/kv/?prefix", "")
	all := `{"get":{"key":"AA==","end":"AA=="}}`
	want(503, codeBusy, "POST", "/v1/txn", `{"then":[`+all+`]}`)
	want(504, codeUnknown, "POST", "/v1/txn", `{"then":[{"put":{"key":"dw==","value":"dw=="}},`+all+`]}`)
	if v, _ := store.value(t, "w"); v != "w" {
		t.Errorf("what was not refused is %q", v)
	}
	want(200, "", "GET", "/v1/kv/w", "")
	close(slow.goOn)
	<-ended
	want(200, "", "GET", "/v1/kv/?prefix", "")
	if slow.Code != http.StatusOK || !strings.Contains(slow.Body.String(), `"more":false`) {
		t.Errorf("who was slow got %d %.200s", slow.Code, slow.Body)
	}
}
