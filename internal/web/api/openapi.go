package api

import _ "embed"

// openAPI describes all routes, by OpenAPI 3.1. It is written by hand; tests hold it to the
// routes and to what they answer.
//
//go:embed openapi.json
var openAPI []byte

func showOpenAPI(r *request) error {
	r.sendJSON(200, openAPI)
	return nil
}
