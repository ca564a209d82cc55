package rest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// openAPIDocument is what the tests look at of the document. That it has the form of one, test/etcdclients holds against OpenAPI's schema.
type openAPIDocument struct {
	Paths      map[string]map[string]openAPIOperation
	Components struct {
		Schemas    map[string]openAPISchema
		Parameters map[string]struct{ Name, In string }
	}
}

type openAPIOperation struct {
	Parameters []struct {
		Ref string `json:"$ref"`
	}
	RequestBody *json.RawMessage
}

type openAPISchema struct {
	Properties map[string]openAPISchema
	Required   []string
	Enum       []string
}

func openAPIOf(t *testing.T) openAPIDocument {
	t.Helper()
	var out openAPIDocument
	if err := json.Unmarshal(openAPI, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t *testing.T, what string, document, code []string) {
	t.Helper()
	slices.Sort(document)
	slices.Sort(code)
	if !slices.Equal(document, code) {
		t.Errorf("%s: the document has %v, the code %v", what, document, code)
	}
}

// TestTheDocumentHasAllRoutes with their methods and parameters, and no others.
func TestTheDocumentHasAllRoutes(t *testing.T) {
	document := openAPIOf(t)
	var inDocument, inCode []string
	for path, methods := range document.Paths {
		for method := range methods {
			inDocument = append(inDocument, strings.ToUpper(method)+" "+path)
		}
	}
	for _, r := range resources {
		for _, e := range r.endpoints {
			inCode = append(inCode, e.method+" "+r.pattern)
			operation := document.Paths[r.pattern][strings.ToLower(e.method)]
			var query []string
			for _, p := range operation.Parameters {
				found, known := document.Components.Parameters[strings.TrimPrefix(p.Ref, "#/components/parameters/")]
				if !known {
					t.Errorf("%s is not there", p.Ref)
				}
				if found.In == "query" {
					query = append(query, found.Name)
				}
			}
			known, err := e.parameters(url.Values{"end": {"z"}}) // a GET of a key knows most as a listing
			if err != nil {
				t.Fatal(err)
			}
			same(t, e.method+" "+r.pattern, query, slices.Clone(known))
			if takesBody := e.method == http.MethodPut || e.method == http.MethodPost && r.name == ""; takesBody != (operation.RequestBody != nil) {
				t.Errorf("%s %s: body %t", e.method, r.pattern, operation.RequestBody != nil)
			}
		}
	}
	same(t, "routes", inDocument, inCode)
}

func TestTheDocumentHasAllProblems(t *testing.T) {
	same(t, "codes", openAPIOf(t).Components.Schemas["Problem"].Properties["code"].Enum, codes(t))
}

// TestTheDocumentHasAllFields of what is sent and received, and asks for no more than the code does.
func TestTheDocumentHasAllFields(t *testing.T) {
	document := openAPIOf(t)
	types := map[string]any{
		"Item": item{}, "Listing": listing{}, "Written": written{}, "Txn": txnDocument{}, "Compare": compareDocument{}, "Op": opDocument{},
		"Put": putDocument{}, "Delete": deleteDocument{}, "Get": getDocument{}, "TxnAnswer": txnAnswer{}, "OpAnswer": opAnswer{},
		"PutAnswer": putAnswer{}, "DeleteAnswer": deleteAnswer{}, "GetAnswer": getAnswer{}, "Grant": grantDocument{}, "Lease": leaseAnswer{},
		"Leases": leasesAnswer{}, "Compact": compactDocument{}, "Compacted": compactAnswer{}, "Revision": revisionDocument{}, "Change": changeDocument{},
		"Event": eventDocument{}, "Problem": problem{},
	}
	for name, schema := range document.Components.Schemas {
		of, known := types[name]
		if !known {
			if len(schema.Properties) > 0 {
				t.Errorf("%s is of no type", name)
			}
			continue
		}
		delete(types, name)
		var inDocument, inCode, always []string
		for property := range schema.Properties {
			inDocument = append(inDocument, property)
		}
		for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
			if tag, found := f.Tag.Lookup("json"); found {
				name, options, _ := strings.Cut(tag, ",")
				inCode = append(inCode, name)
				if !strings.Contains(options, "omit") {
					always = append(always, name)
				}
			}
		}
		same(t, name, inDocument, inCode)
		for _, required := range schema.Required {
			if !slices.Contains(always, required) && name != "Event" {
				t.Errorf("%s: %s is required and may be left out", name, required)
			}
		}
	}
	if len(types) > 0 {
		t.Errorf("the document has no %v", types)
	}
}

func TestTheDocumentIsServedByAnyNode(t *testing.T) {
	h := &harness{t: t, server: startServer(t, nil)}
	a := h.do("GET", "/openapi.json", "")
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != openAPIType || a.body != string(openAPI) {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	h.want(h.do("GET", "/openapi.json?pretty", ""), 400, codeInvalid)
	h.want(h.do("POST", "/openapi.json", ""), 405, codeMethod)
}
