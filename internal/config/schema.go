package config

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Schemas are the JSON Schemas (draft-07) of the four kinds of files, by kind. They are made of the
// same tables as the checks.
func Schemas() map[string][]byte {
	titles := map[string]string{
		SettingsFile: "pinflow.yaml", StreamFile: "A pinflow stream", ViewFile: "A pinflow metrics view", DashFile: "A pinflow dashboard",
	}
	out := map[string][]byte{}
	for _, k := range FileKinds {
		s := schemaOf(table(k))
		s["$schema"] = "http://json-schema.org/draft-07/schema#"
		s["title"] = titles[k]
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(s); err != nil {
			continue // maps of plain values always encode; the test of the schemas would see it
		}
		out[k] = []byte(b.String())
	}
	return out
}

// varPattern lets ${VAR} stand wherever a value has a form of its own.
const varPattern = `.*\$\{[^}]+\}.*`

func schemaOf(s *shape) map[string]any {
	switch s.kind {
	case object:
		return objectSchema(s)
	case list:
		return map[string]any{"type": "array", "items": schemaOf(s.of)}
	case dict:
		out := map[string]any{"type": "object", "additionalProperties": schemaOf(s.of)}
		if s.names != nil {
			out["propertyNames"] = map[string]any{"enum": s.names}
		}
		return out
	case text:
		out := map[string]any{"type": "string"}
		if s.pattern != "" {
			out["pattern"] = orVar(s.pattern)
		}
		return out
	case expression:
		return map[string]any{"type": []string{"string", "number", "boolean"}}
	case integer, number:
		return numberSchema(s)
	case boolean:
		return either(map[string]any{"type": "boolean"})
	case duration:
		pattern := `([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w))+`
		if len(s.words) > 0 {
			pattern = strings.Join(s.words, "|") + "|" + pattern
		}
		return map[string]any{"type": "string", "pattern": orVar(pattern)}
	case size:
		return map[string]any{"type": []string{"string", "integer"}, "minimum": 1, "pattern": orVar(`[0-9]+(\.[0-9]+)? ?([kKmMgGtT]?[iI]?[bB])?`)}
	case word:
		return either(map[string]any{"enum": s.words})
	case address:
		return map[string]any{"type": "string", "pattern": orVar(`.*:[0-9]+`)}
	}
	return map[string]any{}
}

func objectSchema(s *shape) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, k := range s.expand() {
		p := schemaOf(k.shape)
		if k.doc != "" {
			p["description"] = k.doc
		}
		if v, ok := defaultOf(k); ok {
			p["default"] = v
		}
		properties[k.name] = nullable(p, k.required)
		if k.required {
			required = append(required, k.name)
		}
	}
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// nullable lets an optional key be there without a value, which means the default.
func nullable(p map[string]any, required bool) map[string]any {
	if required || len(p) == 0 {
		return p
	}
	doc, def := p["description"], p["default"]
	delete(p, "description")
	delete(p, "default")
	out := map[string]any{"anyOf": []any{p, map[string]any{"type": "null"}}}
	if doc != nil {
		out["description"] = doc
	}
	if def != nil {
		out["default"] = def
	}
	return out
}

func defaultOf(k key) (any, bool) {
	if k.def == "" {
		return nil, false
	}
	if k.shape.kind == integer || k.shape.kind == number {
		return json.Number(k.def), true
	}
	return k.def, true
}

func numberSchema(s *shape) map[string]any {
	kind := "integer"
	if s.kind == number {
		kind = "number"
	}
	out := map[string]any{"type": kind}
	if s.min != nil {
		out["minimum"] = *s.min
	}
	if s.max != nil {
		out["maximum"] = *s.max
	}
	if s.min != nil && s.max != nil && *s.min == *s.max {
		return map[string]any{"const": *s.min}
	}
	return either(out)
}

func either(s map[string]any) map[string]any {
	return map[string]any{"anyOf": []any{s, map[string]any{"type": "string", "pattern": "^" + varPattern + "$"}}}
}

func orVar(pattern string) string { return fmt.Sprintf("^(%s|%s)$", pattern, varPattern) }
