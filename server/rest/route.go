package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The paths. What is in braces is a part of the path: {key} is all that follows, whatever bytes it is of, {id} one segment.
const (
	keyPath      = "/v1/kv/{key}"
	watchPath    = "/v1/watch/{key}"
	txnPath      = "/v1/txn"
	leasesPath   = "/v1/leases"
	leasePath    = "/v1/leases/{id}"
	renewPath    = "/v1/leases/{id}/keepalive"
	compactPath  = "/v1/compact"
	documentPath = "/openapi.json"
)

// endpoint is one method of a resource.
type endpoint struct {
	method string
	// parameters returns the names of the query's parameters that it knows; given are those of the request.
	parameters func(given url.Values) ([]string, error)
	serve      func(*request) error
	// writes says that the outcome of a request that ran out of time is unknown.
	writes bool
	// bare says that it needs no store, and may be asked of any node.
	bare bool
}

// resource is what is at one path.
type resource struct {
	pattern   string
	prefix    string // before the brace
	suffix    string // behind it
	name      string // in the braces; empty without them
	endpoints []endpoint
}

// resources are all that there are. The first that matches counts.
var resources []resource

func init() { // and not a literal, since what serves the document of the resources refers to them
	resources = []resource{
		at(keyPath,
			endpoint{method: http.MethodGet, parameters: ofGet, serve: (*request).read},
			endpoint{method: http.MethodPut, parameters: exactly(parametersOfPut), serve: (*request).put, writes: true},
			endpoint{method: http.MethodDelete, parameters: exactly(parametersOfDelete), serve: (*request).delete, writes: true}),
		at(txnPath, endpoint{method: http.MethodPost, parameters: exactly(parametersOfTxn), serve: (*request).txn, writes: true}),
		at(watchPath, endpoint{method: http.MethodGet, parameters: exactly(parametersOfWatch), serve: (*request).watch}),
		at(leasesPath,
			endpoint{method: http.MethodGet, parameters: exactly(parametersOfAll), serve: (*request).leases},
			endpoint{method: http.MethodPost, parameters: exactly(parametersOfAll), serve: (*request).grant, writes: true}),
		at(renewPath, endpoint{method: http.MethodPost, parameters: exactly(parametersOfAll), serve: (*request).renew}),
		at(leasePath,
			endpoint{method: http.MethodGet, parameters: exactly(parametersOfLease), serve: (*request).lease},
			endpoint{method: http.MethodDelete, parameters: exactly(parametersOfAll), serve: (*request).revoke, writes: true}),
		at(compactPath, endpoint{method: http.MethodPost, parameters: exactly(parametersOfAll), serve: (*request).compact, writes: true}),
		at(documentPath, endpoint{method: http.MethodGet, parameters: exactly(nil), serve: (*request).document, bare: true}),
	}
}

func at(pattern string, endpoints ...endpoint) resource {
	r := resource{pattern: pattern, prefix: pattern, endpoints: endpoints}
	if prefix, rest, found := strings.Cut(pattern, "{"); found {
		r.prefix = prefix
		r.name, r.suffix, _ = strings.Cut(rest, "}")
	}
	return r
}

// match takes the part in braces out of an escaped path. The path is taken as it is: a clean one is not what keys are made of.
func (r *resource) match(escaped string) (part string, ok bool) {
	part, ok = strings.CutPrefix(escaped, r.prefix)
	if !ok || r.name == "" {
		return "", ok && part == ""
	}
	if r.name == "key" {
		return part, true
	}
	part, ok = strings.CutSuffix(part, r.suffix)
	return part, ok && part != "" && !strings.Contains(part, "/")
}

// route finds the endpoint of a request and the part of its path.
func route(method, escaped string) (*endpoint, string, error) {
	for i := range resources {
		r := &resources[i]
		part, ok := r.match(escaped)
		if !ok {
			continue
		}
		if method == http.MethodHead {
			method = http.MethodGet // net/http leaves the body out
		}
		for j := range r.endpoints {
			if e := &r.endpoints[j]; e.method == method {
				part, err := url.PathUnescape(part)
				if err != nil {
					return nil, "", problemf(http.StatusBadRequest, codeInvalid, "the path is not percent-encoded: %v", err)
				}
				return e, part, nil
			}
		}
		p := problemf(http.StatusMethodNotAllowed, codeMethod, "%s takes %s, not %s", r.pattern, r.allowed(), method)
		p.allow = r.allowed()
		return nil, "", p
	}
	return nil, "", problemf(http.StatusNotFound, codeNotFound, "there is nothing at this path: keys are at %s, and %s tells what else there is", keyPath, documentPath)
}

// allowed lists the methods of a resource as the header Allow has them.
func (r *resource) allowed() string {
	var out []string
	for _, e := range r.endpoints {
		out = append(out, e.method)
		if e.method == http.MethodGet {
			out = append(out, http.MethodHead)
		}
	}
	return strings.Join(slices.Compact(out), ", ")
}
