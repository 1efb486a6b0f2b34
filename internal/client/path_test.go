package client

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// A name with a slash, a space or a percent sign in it is one part of the path, also below a base path.
func TestNamesStayOnePartOfThePath(t *testing.T) {
	var got string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /base/v1/events/{id}/trace", func(w http.ResponseWriter, r *http.Request) {
		got = r.PathValue("id")
		_, _ = w.Write([]byte("{}"))
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	c, err := New(Config{URL: srv.URL + "/base/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"plain", "a/ b", "100%", "%2F", "ö?#"} {
		var into struct{}
		if err := c.Get(t.Context(), "/v1/events/"+url.PathEscape(id)+"/trace", nil, &into); err != nil || got != id {
			t.Errorf("%q arrives as %q: %v", id, got, err)
		}
	}
}
