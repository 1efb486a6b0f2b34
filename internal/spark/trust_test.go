package spark

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/pinflow/pinflow/internal/fault"
)

// authority writes the certificate of an authority of its own.
func authority(t *testing.T) (path string, cert []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lake"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	if cert, err = x509.CreateCertificate(rand.Reader, of, of, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, cert
}

// What lake.s3.ca_file names is in the store that Java is told to trust, and it is told beside what the user tells it.
func TestTrustsTheLakesAuthority(t *testing.T) {
	path, cert := authority(t)
	c := Config{Submit: "spark-submit", Master: "local[2]", S3: S3{CAFile: path}}
	dir := t.TempDir()
	store, err := c.trustStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pkcs12.DecodeTrustStore(text, trustPassword)
	if err != nil || !slices.ContainsFunc(certs, func(x *x509.Certificate) bool { return slices.Equal(x.Raw, cert) }) {
		t.Fatalf("the store holds %d certificates, %v, the authority's not among them", len(certs), err)
	}
	last := func(c Config, key string) (value string) { // as spark-submit takes it
		for _, kv := range c.arguments(store) {
			if v, ok := strings.CutPrefix(kv, key+"="); ok {
				value = v
			}
		}
		return value
	}
	const driver, executor = "spark.driver.extraJavaOptions", "spark.executor.extraJavaOptions"
	options := " -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=pinflow"
	if got := last(c, driver); got != "-Djavax.net.ssl.trustStore="+store+options {
		t.Errorf("driver: %s", got)
	}
	if last(c, executor)+last(c, "spark.files") != "" {
		t.Errorf("executors of a local master: %q", c.arguments(store))
	}
	c.Master = "yarn"
	c.Conf = []string{driver + "=-Dx=1", executor + "=-Djavax.net.ssl.trustStore=/theirs", "spark.files=a.txt"}
	if got := last(c, driver); got != "-Dx=1 -Djavax.net.ssl.trustStore="+store+options {
		t.Errorf("driver beside the user's: %s", got)
	}
	if got := last(c, executor); got != "-Djavax.net.ssl.trustStore=/theirs" {
		t.Errorf("executors with the user's own store: %s", got)
	}
	if got := last(c, "spark.files"); got != "a.txt,"+store {
		t.Errorf("files: %s", got)
	}
	c.Conf = nil
	if got := last(c, executor); got != "-Djavax.net.ssl.trustStore=pinflow-trust.p12"+options {
		t.Errorf("executors: %s", got)
	}
}

func TestRefusesAnAuthorityThatIsNone(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{empty, empty + "x"} {
		c := Config{S3: S3{CAFile: at}}
		if _, err := c.trustStore(t.TempDir()); fault.CodeOf(err) != "bad_s3" || fault.KindOf(err) != fault.Config {
			t.Errorf("%s: %v", at, err)
		}
	}
	if store, err := (&Config{}).trustStore(t.TempDir()); store != "" || err != nil {
		t.Errorf("without a file: %q, %v", store, err)
	}
}
