package icelake

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pinflow/pinflow/internal/fault"
)

// An export's bucket is not the lake's: who has none is told which, and is not sent to lake.warehouse.
func TestUploadToNoBucket(t *testing.T) {
	asked := ""
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.Path
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>`))
	}))
	defer s3.Close()
	file := filepath.Join(t.TempDir(), "pin-2026-11-22.jsonl")
	if err := os.WriteFile(file, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Log: slog.New(slog.DiscardHandler), S3: S3{Endpoint: s3.URL, Region: "eu-central-1", AccessKey: "a", SecretKey: "b", PathStyle: true}}
	err := Upload(cfg, file, "s3://nobucket/daily/pin-2026-11-22.jsonl")
	if asked != "PUT /nobucket/daily/pin-2026-11-22.jsonl" {
		t.Errorf("asked %q", asked)
	}
	var said *fault.Error
	if !errors.As(err, &said) || said.Code != "no_bucket" || said.Kind != fault.Config {
		t.Fatalf("%v", err)
	}
	if text := err.Error(); !strings.Contains(text, "s3://nobucket/daily/pin-2026-11-22.jsonl") {
		t.Errorf("the place is not in %q", text)
	}
	if !strings.Contains(said.Advice, "bucket nobucket") || !strings.Contains(said.Advice, "--to") || strings.Contains(said.Advice, "warehouse") {
		t.Errorf("advice %q", said.Advice)
	}
}
