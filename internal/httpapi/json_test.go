package httpapi

import (
	"strings"
	"testing"

	"github.com/pinflow/pinflow/internal/query"
)

// What is wrong with a JSON body is told in the words of JSON, by the path of the member, never in Go's.
func TestJSONBodyIsToldWhatIsWrong(t *testing.T) {
	a := newAPI(t, &world{query: func(query.Request) (*query.Answer, error) { return answer(), nil }}, Config{})
	for body, want := range map[string]string{
		``:                                       "the body is empty: send a JSON object",
		`[]`:                                     "the body is a list: send a JSON object",
		`"x"`:                                    "the body is text: send a JSON object",
		`{"view":"pins"`:                         "the body is not JSON: it ends too soon",
		`{"view":pins}`:                          "the body is not JSON: byte 9: invalid character 'p' looking for beginning of value",
		`{"view":"pins"} x`:                      "the body goes on after its end, at byte 15",
		`{"view":5}`:                             "/view: expected text, got a number",
		`{"view":"pins","measures":"a"}`:         "/measures: expected a list, got text",
		`{"view":"pins","measures":["a",{}]}`:    "/measures/1: expected text, got an object",
		`{"view":"pins","limit":1.5}`:            "/limit: expected a whole number, got 1.5",
		`{"view":"pins","limit":1e30}`:           "/limit: expected a whole number, got 1e30",
		`{"view":"pins","a/b~c":1}`:              "/a~1b~0c: there is no such member",
		strings.Repeat("[", 20_000):              "the body is not JSON: ",
		`{"view":"pins","measure":["posted"]}`:   "/measure: there is no such member; there are: ",
		"\ufeff" + `{"view":"pins","limit":"5"}`: "/limit: expected a whole number, got text",
	} {
		for _, kind := range []string{"application/json", "application/x-www-form-urlencoded"} { // curl -d says the latter of all
			p := wantProblem(t, ask(a, "POST", "/v1/query", strings.NewReader(body), "Content-Type", kind), 400, "malformed_body")
			if !strings.HasPrefix(p.Detail, want) {
				t.Errorf("%.60s: %q, want %q", body, p.Detail, want)
			}
			for _, leak := range []string{"json:", "query.", "Go ", "struct", "unmarshal"} {
				if strings.Contains(p.Detail, leak) {
					t.Errorf("%.60s: %q speaks of %q", body, p.Detail, leak)
				}
			}
		}
	}
	p := wantProblem(t, ask(a, "POST", "/v1/query", strings.NewReader(`{"view":"pins","mesures":["posted"]}`)), 400, "malformed_body")
	if len(p.Errors) != 1 || p.Errors[0].Suggestion != `did you mean "measures"?` {
		t.Errorf("errors are %+v", p.Errors)
	}
}
