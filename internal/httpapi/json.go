package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/nearest"
)

// readJSON reads a body of one JSON object whose members are all known, into a struct. What is wrong with
// it is told by the member's name, in the words of JSON.
func (a *API) readJSON(w http.ResponseWriter, r *http.Request, most int64, into any) error {
	kind, err := mediaType(r)
	if err != nil {
		return err
	}
	if kind != "application/json" && kind != "" && kind != curlDefault {
		return onlyJSON(kind)
	}
	arrived := a.coming(w)
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if arrived(); err != nil {
		return jsonBodyProblem(err, most)
	}
	a.received(w)
	if kind == curlDefault && isForm(r, text) {
		return onlyJSON(kind)
	}
	return decodeObject(text, into)
}

func onlyJSON(kind string) *Problem {
	return problemf(http.StatusUnsupportedMediaType, "unsupported_type", "Content-Type %q is not taken: send application/json", kind)
}

// jsonBodyProblem is bodyProblem for a body that is no batch of events: fewer events are no way out.
func jsonBodyProblem(err error, most int64) error {
	if over := (*http.MaxBytesError)(nil); errors.As(err, &over) {
		return problemf(http.StatusRequestEntityTooLarge, "body_too_large", "the body is larger than %d bytes", most)
	}
	return bodyProblem(err, most, "")
}

// decodeObject decodes one JSON object into a struct.
func decodeObject(text []byte, into any) error {
	text = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(text), bom))
	switch {
	case len(text) == 0:
		return problemf(http.StatusBadRequest, "malformed_body", "the body is empty: send a JSON object")
	case text[0] != '{' && json.Valid(text):
		return problemf(http.StatusBadRequest, "malformed_body", "the body is %s: send a JSON object", jsonKind(text))
	}
	var syntax *json.SyntaxError
	dec := json.NewDecoder(bytes.NewReader(text))
	var whole json.RawMessage
	if err := dec.Decode(&whole); errors.As(err, &syntax) {
		return problemf(http.StatusBadRequest, "malformed_body", "the body is not JSON: byte %d: %s", syntax.Offset, syntax)
	} else if err != nil {
		return problemf(http.StatusBadRequest, "malformed_body", "the body is not JSON: it ends too soon")
	}
	if len(whole) < len(text) {
		return problemf(http.StatusBadRequest, "malformed_body", "the body goes on after its end, at byte %d", len(whole))
	}
	if wrong := misfit(whole, reflect.TypeOf(into).Elem(), nil); wrong != nil {
		p := problemf(http.StatusBadRequest, "malformed_body", "%s: %s", wrong.Path, wrong.Message)
		p.Errors = []ProblemError{*wrong}
		return p
	}
	if err := json.Unmarshal(whole, into); err != nil {
		return problemf(http.StatusBadRequest, "malformed_body", "the body cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// misfit is the first thing in a JSON value that a Go type has no place for, nil if all of it has one.
// The value is valid JSON.
func misfit(v json.RawMessage, t reflect.Type, path []string) *ProblemError {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	kind := jsonKind(v)
	if kind == "null" || t.Kind() == reflect.Interface || t == reflect.TypeFor[json.RawMessage]() || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	wrong := &ProblemError{Path: event.Pointer(path), Message: "expected " + wanted(t) + ", got " + kind}
	switch {
	case !fits(kind, t):
		return wrong
	case kind == "an object":
		var members map[string]json.RawMessage
		if json.Unmarshal(v, &members) != nil {
			return wrong
		}
		return misfitMember(members, t, path)
	case kind == "a list":
		var list []json.RawMessage
		if json.Unmarshal(v, &list) != nil {
			return wrong
		}
		for i, e := range list {
			if w := misfit(e, t.Elem(), append(path, strconv.Itoa(i))); w != nil {
				return w
			}
		}
	case json.Unmarshal(v, reflect.New(t).Interface()) != nil: // a number with a fraction, or too large
		wrong.Message = "expected " + wanted(t) + ", got " + string(v[:min(len(v), 40)])
		return wrong
	}
	return nil
}

// misfitMember looks at the members of an object, in order of their names.
func misfitMember(members map[string]json.RawMessage, t reflect.Type, path []string) *ProblemError {
	known := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		known = fieldsOf(t)
	}
	names := slices.Sorted(maps.Keys(known))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		at, of := append(path, name), known[name]
		if t.Kind() == reflect.Map {
			of = t.Elem()
		}
		if of == nil {
			wrong := &ProblemError{Path: event.Pointer(at), Message: "there is no such member; there are: " + strings.Join(names, ", ")}
			if near := nearest.Name(name, names); near != "" {
				wrong.Suggestion = fmt.Sprintf("did you mean %q?", near)
			}
			return wrong
		}
		if wrong := misfit(members[name], of, at); wrong != nil {
			return wrong
		}
	}
	return nil
}

// fieldsOf are the members that a struct is encoded to.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && !f.Anonymous && name != "-" {
			if name == "" {
				name = f.Name
			}
			all[name] = f.Type
		}
	}
	return all
}

// jsonKind names what a JSON value is.
func jsonKind(v []byte) string {
	switch v[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "text"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

// wanted names what a type takes, in the words of jsonKind.
func wanted(t reflect.Type) string {
	switch k := t.Kind(); {
	case k == reflect.Struct, k == reflect.Map:
		return "an object"
	case k == reflect.Slice && t.Elem().Kind() == reflect.Uint8, k == reflect.String:
		return "text"
	case k == reflect.Slice, k == reflect.Array:
		return "a list"
	case k == reflect.Bool:
		return "true or false"
	case k == reflect.Float32, k == reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

func fits(kind string, t reflect.Type) bool {
	want := wanted(t)
	return kind == want || kind == "a number" && want == "a whole number"
}

// unknownParameter refuses a parameter of an address, and names the one that was probably meant.
func unknownParameter(key string, names ...string) *Problem {
	p := problemf(http.StatusBadRequest, "bad_parameter", "there is no parameter %q here: %s", key, strings.Join(names, ", "))
	if near := nearest.Name(key, names); near != "" {
		p.Errors = []ProblemError{{Path: key, Message: "there is no such parameter", Suggestion: fmt.Sprintf("did you mean %q?", near)}}
	}
	return p
}
