package rest

import (
	_ "embed"
	"strconv"
)

// openAPI describes this interface (OpenAPI 3.1). A test holds it against the code.
//
//go:embed openapi.json
var openAPI []byte

// openAPIType is the content type of such a document.
const openAPIType = "application/openapi+json;version=3.1"

func (x *request) document() error {
	header := x.w.Header()
	header.Set("Content-Type", openAPIType)
	header.Set("Content-Length", strconv.Itoa(len(openAPI)))
	header.Set("Access-Control-Allow-Origin", "*") // so that a page that shows such documents may load it
	_, _ = x.w.Write(openAPI)                      // the client is gone if this fails
	return nil
}
