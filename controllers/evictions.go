package controllers

import (
	"net/http"
	"strings"
)

// AtOnce has evictions that are refused told at once. While a disruption budget, or the pod, has just changed, the API server refuses them and asks to come again
// in ten seconds, and the client would do so, up to ten times, before it says anything: for as long nobody would look after the pod's cluster, nor hear who leads it.
// All else that it asks to come again for is left to the client. It is for rest.Config.Wrap.
func AtOnce(next http.RoundTripper) http.RoundTripper { return atOnce{next} }

type atOnce struct{ next http.RoundTripper }

// RoundTrip takes from the answer to an eviction when to come again.
func (a atOnce) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := a.next.RoundTrip(request)
	if err == nil && request.Method == http.MethodPost && strings.HasSuffix(request.URL.Path, "/eviction") {
		response.Header.Del("Retry-After")
	}
	return response, err
}
