package e2e

import (
	"encoding/pem"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/testbed"
)

// Spark reaches a bucket behind an authority that only lake.s3.ca_file names, and fills in what the kernel would.
func TestSparkTrustsTheLakesAuthority(t *testing.T) {
	submit := sparkSubmit(t)
	place := testbed.Servers(t)
	var ca string
	place.S3.Endpoint, ca = behindTLS(t, place.S3.Endpoint)
	s3 := icelake.S3{
		Endpoint: place.S3.Endpoint, Region: place.S3.Region, PathStyle: true,
		AccessKey: place.S3.AccessKey, SecretKey: place.S3.SecretKey, CAFile: ca,
	}
	if _, err := icelake.Make(icelake.Config{Warehouse: place.Warehouse, Log: slog.New(slog.DiscardHandler), S3: s3}); err != nil {
		t.Fatal(err)
	}
	env := append(append(sparkEnv(submit), onServers(place)...), "PINFLOW_BACKFILL_SPARK_JARS="+strings.Join(sparkJars(t), ","), "PINFLOW_LAKE_S3_CA_FILE="+ca)
	s := &seller{
		definer: &definer{t: t, s: startIn(t, env, filepath.Join(t.TempDir(), "data")), files: filepath.Join(t.TempDir(), "project")},
		rnd:     rand.New(rand.NewPCG(testbed.Seed(t), 5)), days: 1,
	}
	s.begin()
	s.stream(scoreField + moodField)
	s.post(500)
	s.view("sales", "spark")
	s.view("tagged", "spark")
	s.apply("spark")
	s.exact("sales_spark")
	s.s.stop()
}

// behindTLS puts a server behind one that speaks TLS, and names the file of its authority.
func behindTLS(t *testing.T, endpoint string) (secure, ca string) {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host // which is in the signature
	}})
	t.Cleanup(front.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return front.URL, ca
}
