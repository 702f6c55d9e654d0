package admin

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write openapi.json")

// openapi.json is what the table of operations says.
func TestOpenAPI(t *testing.T) {
	want := describe()
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(openAPI, want) {
		t.Error("openapi.json is not what the table says: go generate ./admin")
	}
}

// Each operation of the document is served, each field has a description, and no other method is taken.
func TestOpenAPIIsServed(t *testing.T) {
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Description string }
			}
		}
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	s := serve(t, &fake{})
	served := 0
	for path, methods := range doc.Paths {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE", "PATCH"} {
			if path == apiPath+"/events" && method == "GET" {
				continue // it does not end
			}
			_, has := methods[strings.ToLower(method)]
			at := strings.NewReplacer("{upstream}", "a%2Fb", "{endpoint}", "unix:%2Frun%2Fx.sock", "{id}", "0-1").Replace(path)
			response, body := do(t, s, method, at)
			if taken := response.StatusCode != http.StatusMethodNotAllowed && response.StatusCode != http.StatusNotFound; taken != has {
				t.Errorf("%s %s: %d, in the document: %v; %s", method, at, response.StatusCode, has, body)
			}
			if has {
				served++
			}
		}
	}
	if served != len(operations())-1 {
		t.Errorf("%d operations are served, there are %d and events", served, len(operations()))
	}
	for name, schema := range doc.Components.Schemas {
		for field, of := range schema.Properties {
			if len(of.Description) < 3 {
				t.Errorf("%s.%s has no description", name, field)
			}
		}
	}
}
