package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// document is openapi.json as the tests compare answers with it: whatever a test of this package asks,
// its answer must be one that the document tells of.
var document = sync.OnceValues(func() (*openAPIDoc, error) {
	d := &openAPIDoc{compiled: map[string]*jsonschema.Schema{}}
	if err := json.Unmarshal(openAPIText, d); err != nil {
		return nil, err
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPIText))
	if err != nil {
		return nil, err
	}
	d.compiler = jsonschema.NewCompiler()
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	return d, d.compiler.AddResource("openapi.json", tree)
})

type openAPIDoc struct {
	Paths map[string]map[string]struct {
		OperationID string                     `json:"operationId"`
		Summary     string                     `json:"summary"`
		Responses   map[string]openAPIResponse `json:"responses"`
	} `json:"paths"`
	Components struct {
		Responses map[string]openAPIResponse `json:"responses"`
	} `json:"components"`

	compiler *jsonschema.Compiler
	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

type openAPIResponse struct {
	Ref     string                     `json:"$ref"`
	Content map[string]json.RawMessage `json:"content"`
}

func (d *openAPIDoc) schema(at string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.compiled[at]; ok {
		return s, nil
	}
	s, err := d.compiler.Compile("openapi.json#" + at)
	d.compiled[at] = s
	return s, err
}

func escape(pointer string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(pointer)
}

// check tells what the document does not say of an answer.
func (d *openAPIDoc) check(method, path string, got *http.Response, body []byte) error {
	op, ok := d.Paths[path][strings.ToLower(method)]
	if !ok {
		return fmt.Errorf("it does not tell of %s %s", method, path)
	}
	status := fmt.Sprint(got.StatusCode)
	resp, ok := op.Responses[status]
	if !ok {
		if status, resp = "default", op.Responses["default"]; got.StatusCode < 400 {
			return fmt.Errorf("%s %s does not tell of status %d", method, path, got.StatusCode)
		}
	}
	at := "/paths/" + escape(path) + "/" + strings.ToLower(method) + "/responses/" + status
	if name, isRef := strings.CutPrefix(resp.Ref, "#/components/responses/"); isRef {
		at, resp = "/components/responses/"+name, d.Components.Responses[name]
	}
	if len(resp.Content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("%s %s %s has a body: %.200s", method, path, status, body)
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("%s %s %s: content type: %w", method, path, status, err)
	}
	if _, ok := resp.Content[kind]; !ok {
		return fmt.Errorf("%s %s %s does not tell of %s", method, path, status, kind)
	}
	if !strings.HasSuffix(kind, "json") || strings.HasSuffix(kind, "ndjson") {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s %s %s is not JSON: %w", method, path, status, err)
	}
	s, err := d.schema(at + "/content/" + escape(kind) + "/schema")
	if err != nil {
		return err
	}
	if err := s.Validate(value); err != nil {
		return fmt.Errorf("%s %s %s: %w\n%.500s", method, path, status, err, body)
	}
	return nil
}

// lies are the answers of all tests that the document does not tell of.
var lies struct {
	mu   sync.Mutex
	list []string
}

// compare notes an answer that the document does not tell of. Half answers and the page are none.
func compare(h http.Handler, r *http.Request, w *httptest.ResponseRecorder) {
	a, ok := h.(*API)
	if g, is := h.(*guarded); is {
		a, ok = g.API, true
	}
	if !ok {
		return
	}
	_, pattern := a.mux.Handler(r)
	method, path, ok := strings.Cut(pattern, " ")
	if !ok || r.Method != method { // the page; HEAD
		return
	}
	d, err := document()
	if err == nil {
		err = d.check(method, strings.TrimSuffix(path, "{$}"), w.Result(), w.Body.Bytes()) //nolint:bodyclose // a recorder's
	}
	if err != nil {
		lies.mu.Lock()
		defer lies.mu.Unlock()
		if s := err.Error(); !slices.Contains(lies.list, s) {
			lies.list = append(lies.list, s)
		}
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, lie := range lies.list {
		_, _ = io.WriteString(os.Stderr, "openapi.json and an answer differ: "+lie+"\n")
		code = 1
	}
	os.Exit(code)
}

// TestOpenAPIIsTrue compares the document with the routes, both ways.
func TestOpenAPIIsTrue(t *testing.T) {
	d, err := document()
	if err != nil {
		t.Fatal(err)
	}
	told, ids := map[string]bool{}, map[string]bool{}
	for path, methods := range d.Paths {
		for m, op := range methods {
			told[strings.ToUpper(m)+" "+path] = true
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" {
				t.Errorf("%s %s has no id, one that is taken, or no summary: %q", m, path, op.OperationID)
			}
			ids[op.OperationID] = true
			for status, resp := range op.Responses {
				at := "/paths/" + escape(path) + "/" + m + "/responses/" + status
				for kind := range resp.Content {
					if _, err := d.schema(at + "/content/" + escape(kind) + "/schema"); err != nil {
						t.Errorf("%s: %v", at, err)
					}
				}
				if _, ok := d.Components.Responses[strings.TrimPrefix(resp.Ref, "#/components/responses/")]; resp.Ref != "" && !ok {
					t.Errorf("%s refers to %s, which is not there", at, resp.Ref)
				}
			}
		}
	}
	for _, rt := range newGuarded(t, Config{}).routes {
		name := strings.TrimSuffix(rt.name(), "{$}")
		if !told[name] {
			t.Errorf("openapi.json does not tell of %s", name)
		}
		delete(told, name)
	}
	for name := range told {
		t.Errorf("openapi.json tells of %s, which is no route", name)
	}
}
