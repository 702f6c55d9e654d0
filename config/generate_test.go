package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write config/schema.json and docs/configuration.md instead of comparing them")

// TestGenerated compares the files that are made from the table with what the table says now.
func TestGenerated(t *testing.T) {
	for _, file := range []struct {
		path string
		want []byte
	}{
		{"schema.json", schemaOf(t)},
		{"../docs/configuration.md", docsOf()},
	} {
		if *update {
			if err := os.WriteFile(file.path, file.want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(file.path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, file.want) {
			t.Errorf("%s is not what the table makes: run go generate ./config", file.path)
		}
	}
}

// The JSON Schema.

type object = map[string]any

func schemaOf(t *testing.T) []byte {
	root := objectSchema(table())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "ZProxy configuration"
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

func objectSchema(fields []field) object {
	properties, required := object{}, []string{}
	for i := range fields {
		f := &fields[i]
		s := valueSchema(f)
		if f.kind == kindSection && !f.optional {
			s = object{"anyOf": []any{s, object{"type": "null"}}}
		}
		s["description"] = f.doc
		if f.def != "" {
			s["default"] = defaultJSON(f)
		}
		properties[f.key] = s
		if f.required {
			required = append(required, f.key)
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

func defaultJSON(f *field) any {
	switch f.kind {
	case kindBool, kindCount:
		return json.RawMessage(f.def)
	case kindTexts:
		return strings.Split(f.def, ", ")
	case kindSize, kindDuration:
		if f.def == "0" {
			return 0
		}
	}
	return f.def
}

const durationPattern = `^([0-9]+(\.[0-9]*)?(ns|us|ms|s|m|h))+$`

func valueSchema(f *field) object {
	if f.same != "" {
		return object{"$ref": "#/properties/" + f.same}
	}
	text := func(pattern string) object { return object{"type": "string", "pattern": pattern} }
	switch f.kind {
	case kindEnum:
		return object{"enum": f.enum}
	case kindBool:
		return object{"type": "boolean"}
	case kindCount:
		if f.numbers != nil {
			return object{"enum": f.numbers}
		}
		return object{"type": "integer", "minimum": f.min, "maximum": f.max}
	case kindSize:
		return object{"anyOf": []any{object{"type": "integer", "minimum": f.min, "maximum": f.max},
			text(`^[0-9]+ ?([KMGT]iB|[kKMGT]?B)?$`)}}
	case kindDuration:
		if f.never {
			return object{"anyOf": []any{text(durationPattern), object{"const": "never"}}}
		}
		if f.min > 0 {
			return text(durationPattern)
		}
		return object{"anyOf": []any{text(durationPattern), object{"enum": []any{0, "0"}}}}
	case kindBatchWait:
		return object{"anyOf": []any{text(durationPattern), object{"enum": []any{0, "0", "auto"}}}}
	case kindLoops:
		return object{"anyOf": []any{object{"const": "auto"}, object{"type": "integer", "minimum": 1, "maximum": maxLoops},
			text(`^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$`)}}
	case kindMode:
		return object{"anyOf": []any{object{"type": "integer", "minimum": 0, "maximum": 777}, text(`^0?[0-7]{3}$`)}}
	case kindTexts, kindPrefixes:
		return object{"type": "array", "items": valueSchema(f.elem), "minItems": f.min, "maxItems": f.max, "uniqueItems": true}
	case kindPairs:
		return object{"type": "object", "propertyNames": object{"pattern": f.name.pattern}, "additionalProperties": valueSchema(f.elem), "minProperties": f.min, "maxProperties": f.max}
	case kindPages:
		return object{"anyOf": []any{object{"type": "null"}, object{"type": "object", "additionalProperties": false,
			"patternProperties": object{"^[45][0-9][0-9]$": object{"type": "string", "minLength": 1}}}}}
	case kindLabels:
		return object{"type": "object", "minProperties": 1, "maxProperties": maxLabels, "propertyNames": object{"pattern": patternLabel},
			"additionalProperties": object{"type": "string", "maxLength": maxLabelBytes}}
	case kindSection:
		o := objectSchema(f.fields)
		if f.atLeast1 != nil {
			o["anyOf"] = withOneOf(f.atLeast1)
		}
		return o
	case kindSections:
		items := objectSchema(f.fields)
		if f.exactly1 != nil {
			items["oneOf"] = withOneOf(f.exactly1)
		}
		return object{"type": "array", "items": items, "minItems": f.min, "maxItems": f.max}
	case kindNamed:
		items := objectSchema(f.fields)
		if f.exactly1 != nil {
			items["oneOf"] = withOneOf(f.exactly1)
		}
		return object{"anyOf": []any{object{"type": "null"}, object{"type": "object", "maxProperties": f.max,
			"propertyNames": object{"pattern": "^[A-Za-z0-9_.-]{1,64}$"}, "additionalProperties": items}}}
	}
	s := object{"type": "string"}
	if f.pattern != "" {
		s["pattern"] = f.pattern
	}
	if f.figures[1] != 0 {
		return object{"anyOf": []any{s, object{"type": "integer", "minimum": f.figures[0], "maximum": f.figures[1]}}}
	}
	return s
}

// withOneOf has a case for each key, in which it is there.
func withOneOf(keys []string) (cases []any) {
	for _, key := range keys {
		cases = append(cases, object{"required": []string{key}})
	}
	return cases
}

// docs/configuration.md.

const docsHead = `<!-- Made from config/table.go by "go generate ./config"; a test compares. Change the table, not this file. -->
# Configuration

    zproxy check -c zproxy.yaml     # everything that is wrong with it, or a summary
    zproxy run   -c zproxy.yaml

One file describes everything. It is YAML, and since all JSON is YAML it may be JSON as well. The smallest useful one:

` + "```yaml" + `
listeners:
  - address: 127.0.0.1:8080
upstreams:
  app:
    endpoints:
      - {address: "127.0.0.1:9000"}
routes:
  - {path: "/*", upstream: app}
` + "```" + `

More, with comments, are in [examples/](../examples); [routing.md](routing.md) says which route wins, and
[access-log.md](access-log.md) what a line of the access log holds. ` + "`zproxy run`" + ` without ` + "`-c`" + ` uses
[quickstart.yaml](../examples/quickstart.yaml).

## How it is read

Reading is strict: nothing starts with a file that may not say what its author meant. A key that is unknown or there twice, a
value of the wrong kind or out of range, a name that refers to nothing are errors, and all errors of a file are reported
together, one on a line:

` + "```" + `
%s
` + "```" + `

Warnings, for what is allowed but rarely meant, look the same and stop nothing.

- **Sizes** are whole numbers with a unit: ` + "`16KiB`, `64MiB`, `2GiB`" + ` count in 1024s, ` + "`16KB`, `64MB`, `1GB`" + ` in 1000s; without a unit
  they are bytes. A bare ` + "`k` or `m`" + ` is refused, since it means one to some programs and the other to others.
- **Durations** have a unit: ` + "`500ms`, `60s`, `1m30s`, `2h`" + `. Only 0 needs none.
- **Text** that YAML would take for something else needs quotes: ` + "`\"[::]:8080\"`, `\"*.example.com\"`, `\"404\"`" + `.
- Anchors and aliases (` + "`&pool`, `*pool`" + `) work for whole values; merge keys (` + "`<<`" + `) do not.
- A section without content is as good as none.

[config/schema.json](../config/schema.json) is a JSON Schema for editors. With the YAML language server, begin the file with

` + "```yaml" + `
# yaml-language-server: $schema=https://example.org/path/to/config/schema.json
` + "```" + `

The schema knows keys, kinds and simple ranges; ` + "`zproxy check`" + ` knows all of it.
`

// docsExample is a file with the mistakes whose messages the page shows.
const docsExample = `listners:
  - address: 127.0.0.1:8080
upstreams:
  app:
    endpoints: [{address: "http://10.0.0.1"}]
    pool: {max_connections: 100, max_idle: 500}
routes:
  - {path: "/*", upstream: api}
limits: {keepalive_timeout: 75}
`

func docsOf() []byte {
	_, err := Parse("zproxy.yaml", []byte(docsExample))
	var b strings.Builder
	fmt.Fprintf(&b, docsHead, err)
	fields := table()
	b.WriteString("\n## Top level\n\n")
	docsTable(&b, fields)
	for i := range fields {
		docsSection(&b, &fields[i], fields[i].key)
	}
	return []byte(b.String())
}

// docsSection writes the heading and table of f, named path, if it has keys, and those of its sections.
func docsSection(b *strings.Builder, f *field, path string) {
	if f.fields == nil || f.same != "" {
		return
	}
	switch f.kind {
	case kindSections:
		path += "[]"
	case kindNamed:
		path += ".NAME"
	}
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", path, f.doc)
	docsTable(b, f.fields)
	for i := range f.fields {
		docsSection(b, &f.fields[i], path+"."+f.fields[i].key)
	}
}

func docsTable(b *strings.Builder, fields []field) {
	b.WriteString("| Key | Value | Default | |\n|---|---|---|---|\n")
	for i := range fields {
		f := &fields[i]
		doc := f.doc
		if f.zero != "" && f.min == 0 && (f.def == "0" || f.kind == kindCount || f.kind == kindSize || f.kind == kindDuration) {
			doc += " 0: " + f.zero + "."
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.key, docsValue(f), docsDefault(f), doc)
	}
}

func docsDefault(f *field) string {
	switch {
	case f.required:
		return "required"
	case f.def != "" && f.kind == kindTexts:
		return "`[" + f.def + "]`"
	case f.def != "":
		return "`" + f.def + "`"
	case f.zero != "":
		return f.zero
	case f.kind == kindSection && !f.optional:
		return ""
	}
	return "none"
}

func docsValue(f *field) string {
	code := func(list []string) string { return "`" + strings.Join(list, "`, `") + "`" }
	switch f.kind {
	case kindEnum:
		return code(f.enum)
	case kindBool:
		return "`true`, `false`"
	case kindCount:
		if f.numbers != nil {
			return strings.TrimPrefix(f.wants(), "one of ")
		}
		return fmt.Sprintf("%d to %d", f.min, f.max)
	case kindSize:
		return Size(f.min).String() + " to " + Size(f.max).String()
	case kindDuration:
		if f.never {
			return durationText(f.min) + " to " + durationText(f.max) + ", `never`"
		}
		return durationText(f.min) + " to " + durationText(f.max)
	case kindBatchWait:
		return "`auto`, " + durationText(f.min) + " to " + durationText(f.max)
	case kindLoops:
		return "`auto`, 1 to 1024, CPU list"
	case kindMode:
		return "permissions"
	case kindTexts:
		if f.elem.enum != nil {
			return "list of " + code(f.elem.enum)
		}
		return "list of text"
	case kindPrefixes:
		return "list of networks"
	case kindPairs:
		return "name: text"
	case kindPages:
		return "status: file"
	case kindLabels:
		return "name: text"
	case kindSection:
		return "section"
	case kindSections:
		return "list of sections"
	case kindNamed:
		return "sections by name"
	}
	return "text"
}
