package admin

import _ "embed"

// openAPI is what the table of operations says: a test makes it, and compares the two.
//
//go:generate go test . -count=1 -run TestOpenAPI$ -update
//go:embed openapi.json
var openAPI []byte

// answerError is what every response with another status than 200 has.
type answerError struct {
	Error string `json:"error" doc:"What is wrong, and what to do about it."`
}
