package admin

import (
	"encoding/json"
	"reflect"
	"strings"
)

type object = map[string]any

// describe is the OpenAPI document (version 3.1) of the table of operations.
func describe() []byte {
	schemas, paths := object{}, object{}
	for _, op := range operations() {
		at, _ := paths[apiPath+op.path].(object)
		if at == nil {
			at = object{}
			paths[apiPath+op.path] = at
		}
		at[strings.ToLower(op.method)] = describeOperation(&op, schemas)
	}
	schemaOf(typeOf[answerError](), schemas)
	text, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{"title": "ZProxy", "version": "1", "description": "What a running zproxy does, and how to change it: see docs/control.md. " +
			"By a unix: socket its file's permissions say who gets in; by a port a token does."},
		"security":   []any{object{}, object{"token": []any{}}},
		"paths":      paths,
		"components": object{"schemas": schemas, "securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}}},
	}, "", " ")
	if err != nil {
		panic("the table of the API cannot be described: " + err.Error()) // it is all maps and texts
	}
	return append(text, '\n')
}

func describeOperation(op *operation, schemas object) object {
	var parameters []any
	for _, part := range strings.Split(op.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			parameters = append(parameters, object{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	for _, p := range op.query {
		parameters = append(parameters, object{"name": p.name, "in": "query", "description": p.about, "schema": object{"type": p.kind}})
	}
	content := "application/json"
	if op.stream {
		content = "text/event-stream"
	}
	failed := object{"description": "It was not done: 400 wrong request, 401 and 403 not let in, 404 there is none, 409 another is under way, 422 why not, 503 too many at once.",
		"content": object{"application/json": object{"schema": ref("answerError")}}}
	out := object{
		"summary": op.about, "operationId": strings.ToLower(op.method) + strings.NewReplacer("/", "_", "{", "", "}", "").Replace(op.path),
		"responses": object{
			"200":     object{"description": "It was done.", "content": object{content: object{"schema": schemaOf(op.out, schemas)}}},
			"default": failed,
		},
	}
	if op.writes {
		out["description"] = "Needs access: write. Leaves a line in the log, with subject audit."
	}
	if parameters != nil {
		out["parameters"] = parameters
	}
	switch {
	case op.raw:
		out["requestBody"] = object{"required": true, "content": object{"application/yaml": object{"schema": object{"type": "string"}}}}
	case op.in != nil:
		out["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": schemaOf(op.in, schemas)}}}
	}
	return out
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// schemaOf describes a type; structs are put into schemas.
func schemaOf(t reflect.Type, schemas object) object {
	switch {
	case t == typeOf[any]():
		return object{}
	case t.PkgPath() == "time" && t.Name() == "Time":
		return object{"type": "string", "format": "date-time"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		of := schemaOf(t.Elem(), schemas)
		of["type"] = []any{of["type"], "null"}
		return of
	case reflect.Slice:
		return object{"type": []any{"array", "null"}, "items": schemaOf(t.Elem(), schemas)}
	case reflect.Array:
		return object{"type": "array", "items": schemaOf(t.Elem(), schemas), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Struct:
		return structOf(t, schemas)
	}
	return object{"type": "integer"}
}

func structOf(t reflect.Type, schemas object) object {
	if schemas[t.Name()] == nil {
		properties, required := object{}, []any{}
		schemas[t.Name()] = object{}
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			of := schemaOf(f.Type, schemas)
			of["description"] = f.Tag.Get("doc")
			properties[name] = of
			if options != "omitempty" {
				required = append(required, name)
			}
		}
		schemas[t.Name()] = object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	}
	return ref(t.Name())
}
