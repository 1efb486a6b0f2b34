package httpapi

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/fault"
)

// writeCertificate writes a certificate for 127.0.0.1 and its key.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "pinflow"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACertificateIsReadAgainWhenItChanges(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	if _, err := NewCertificate(certFile, keyFile, quiet()); fault.CodeOf(err) != "bad_certificate" {
		t.Fatalf("without files: %v", err)
	}
	writeCertificate(t, certFile, keyFile, 1)
	c, err := NewCertificate(certFile, keyFile, quiet())
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Certificate: c}, quiet(), Deps{Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := a.Server("")
	go func() { _ = srv.ServeTLS(ln, "", "") }()
	defer srv.Close()
	serial := func() int64 {
		t.Helper()
		c.mu.Lock()
		c.looked = time.Time{} // as if a second had passed
		c.mu.Unlock()
		pool := x509.NewCertPool()
		text, err := os.ReadFile(certFile)
		if err != nil {
			t.Fatal(err)
		}
		pool.AppendCertsFromPEM(text)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}}
		defer client.CloseIdleConnections()
		resp, err := client.Get("https://" + ln.Addr().String() + "/healthz") //nolint:noctx // a test's
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.ProtoMajor != 2 {
			t.Errorf("spoke HTTP/%d", resp.ProtoMajor)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Fatalf("serial %d", got)
	}
	keep, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(certFile, bytes.Repeat([]byte("x"), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	c.looked = time.Time{}
	if have, err := c.Get(nil); err != nil || have.Leaf.SerialNumber.Int64() != 1 {
		t.Errorf("a broken file took the certificate away: %v", err)
	}
	if err := os.WriteFile(certFile, keep, 0o600); err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, certFile, keyFile, 2)
	if got := serial(); got != 2 {
		t.Errorf("serial %d is served after the change", got)
	}
}

func TestDrainingIsSaidBeforeTheDoorCloses(t *testing.T) {
	g := newGuarded(t, Config{})
	if got := ask(g, "GET", "/readyz", nil); got.Code != 200 || got.Body.String() != "ok\n" {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	g.Drain()
	if got := ask(g, "GET", "/readyz", nil); got.Code != 503 || !strings.Contains(got.Body.String(), "fail draining") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if got := ask(g, "GET", "/healthz", nil); got.Code != 200 {
		t.Errorf("a process that drains is not dead: %d", got.Code)
	}
	if got := ask(g, "POST", "/pin/", strings.NewReader("{}"), "Authorization", "Bearer "+g.keys["write"]); got.Code != 202 {
		t.Errorf("while it drains events are refused: %d %s", got.Code, got.Body)
	}
}

// The address at which a connection came in is a name of ours; another address in its place is not.
func TestTheAddressOfTheConnectionIsAllowed(t *testing.T) {
	a := newAPI(t, &world{}, Config{})
	ln, err := net.Listen("tcp", "127.0.0.2:0") // any address of 127/8 that the list does not hold
	if err != nil {
		t.Skipf("this host has no 127.0.0.2: %v", err)
	}
	srv := a.Server("")
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	for host, want := range map[string]int{"127.0.0.2": 200, "127.0.0.3": 403, "localhost": 200, "example.com": 403} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+ln.Addr().String()+"/version", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, resp.StatusCode, want)
		}
	}
}
