package etcdclients

import (
	"io"
	"net/http"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestTheDocumentOfRESTIsOpenAPI as every node serves it. That it says what the code does, tests of server/rest hold.
func TestTheDocumentOfRESTIsOpenAPI(t *testing.T) {
	ctx := within(t)
	request := must(http.NewRequestWithContext(ctx, http.MethodGet, "http://"+shared.nodes[2].client+"/openapi.json", nil))(t)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	document := must(openapi3.NewLoader().LoadFromData(must(io.ReadAll(response.Body))(t)))(t)
	if err := document.Validate(ctx); err != nil || document.OpenAPI != "3.1.0" {
		t.Error(document.OpenAPI, err)
	}
}
