package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
)

// ask sends a request with a key and returns the status and the problem's code.
func (s *server) ask(method, path, key, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url()+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := anyone.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var p struct{ Code string }
	if resp.StatusCode >= 400 {
		if err := json.Unmarshal(text, &p); err != nil {
			s.t.Fatalf("%s %s: %s, which is no problem: %s", method, path, resp.Status, text)
		}
	}
	return resp.StatusCode, p.Code
}

// makeKey makes one by the server, or without one, and writes it to a file of its own.
func makeKey(t *testing.T, args ...string) (text, file string) {
	t.Helper()
	text = strings.TrimSpace(must(t, append([]string{"keys", "create"}, args...)...))
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return text, file
}

// keyID is the id of the key of a name.
func keyID(t *testing.T, name string, by ...string) string {
	t.Helper()
	var keys []struct{ ID, Name string }
	if err := json.Unmarshal([]byte(must(t, append([]string{"keys", "ls", "-o", "json"}, by...)...)), &keys); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(keys, func(k struct{ ID, Name string }) bool { return k.Name == name })
	if i < 0 {
		t.Fatalf("no key is called %s: %v", name, keys)
	}
	return keys[i].ID
}

// A key opens what its scopes and streams say and nothing else, on every route that takes events, until it is
// revoked; all of it outlives kill -9.
func TestKeysOpenWhatTheySay(t *testing.T) {
	prove.Invariant(t, "S1", prove.Disk, prove.SQLite)
	dir := t.TempDir()
	admin, adminFile := makeKey(t, "--local", "--data", dir, "--name", "admin", "--scope", "admin")
	s := start(t, dir)
	by := []string{"--api-key-file", adminFile, "--url", s.url()}
	write, writeFile := makeKey(t, append(by, "--name", "writer", "--scope", "write")...)
	pin, _ := makeKey(t, append(by, "--name", "pins alone", "--scope", "write", "--stream", "pin")...)
	read, readFile := makeKey(t, append(by, "--name", "reader", "--scope", "read")...)
	const event, envelope = `{"category":"travel"}`, `{"records":[{"value":{"category":"travel"}}]}`
	const question = "/v1/query?view=pins&measures=posted"
	opens := []struct {
		what, key, method, path, body string
		status                        int
		code                          string
	}{
		{"no key", "", "POST", "/v1/streams/pin/events", event, 401, "key_required"},
		{"no key, emulation", "", "POST", "/pin/", event, 401, "key_required"},
		{"no key, Kafka REST", "", "POST", "/topics/pin", envelope, 401, "key_required"},
		{"no key, query", "", "GET", question, "", 401, "key_required"},
		{"no key, keys", "", "GET", "/v1/keys", "", 401, "key_required"},
		{"mistyped", pin[:len(pin)-1] + "!", "POST", "/pin/", event, 401, "bad_key"},
		{"writer", write, "POST", "/v1/streams/geo/events", event, 202, ""},
		{"writer reads", write, "GET", question, "", 403, "scope_missing"},
		{"writer makes keys", write, "POST", "/v1/keys", `{"name":"more","scopes":["admin"]}`, 403, "scope_missing"},
		{"pins", pin, "POST", "/v1/streams/pin/events", event, 202, ""},
		{"pins, emulation", pin, "POST", "/pin/", event, 202, ""},
		{"pins, Kafka REST", pin, "POST", "/topics/pin", envelope, 200, ""},
		{"pins to geo", pin, "POST", "/v1/streams/geo/events", event, 403, "stream_not_allowed"},
		{"pins to geo, emulation", pin, "POST", "/geo/", event, 403, "stream_not_allowed"},
		{"pins to geo, Kafka REST", pin, "POST", "/topics/geo", envelope, 403, "stream_not_allowed"},
		{"reader", read, "GET", question, "", 200, ""},
		{"reader writes", read, "POST", "/v1/streams/pin/events", event, 403, "scope_missing"},
		{"reader applies", read, "POST", "/v1/apply", "{}", 403, "scope_missing"},
		{"admin", admin, "GET", "/v1/keys", "", 200, ""},
		{"admin writes", admin, "POST", "/v1/streams/user/events", event, 202, ""},
		{"nobody is healthy", "", "GET", "/healthz", "", 200, ""},
	}
	check := func() {
		t.Helper()
		for _, o := range opens {
			if status, code := s.ask(o.method, o.path, o.key, o.body); status != o.status || code != o.code {
				t.Errorf("%s: %d %s, want %d %s", o.what, status, code, o.status, o.code)
			}
		}
	}
	check()
	s.kill()
	s.run()
	check()
	must(t, append([]string{"keys", "revoke", keyID(t, "writer", by...)}, by...)...)
	if status, code := s.ask("POST", "/v1/streams/pin/events", write, event); status != 401 || code != "bad_key" {
		t.Errorf("a revoked key: %d %s", status, code)
	}
	send := filepath.Join(t.TempDir(), "send.json")
	if err := os.WriteFile(send, []byte(event), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, 1, []string{"no such key"}, "send", "pin", send, "--api-key-file", writeFile, "--url", s.url())
	refused(t, 1, []string{"admin"}, "keys", "ls", "--api-key-file", readFile, "--url", s.url())
	s.kill()
	s.run()
	if status, _ := s.ask("POST", "/v1/streams/pin/events", write, event); status != 401 {
		t.Errorf("a revoked key after kill -9: %d", status)
	}
	s.stop()
}

// A renewed certificate is served without a restart, and without ending what goes on; half of one is not.
func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(name+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	private, public := pemPair(t, 1)
	put(cert, public)
	put(key, private)
	s := startIn(t, []string{"PINFLOW_TLS_CERT_FILE=" + cert, "PINFLOW_TLS_KEY_FILE=" + key}, t.TempDir(), "--demo")
	trusting := func(public []byte) *http.Client {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(public)
		return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	}
	post := func(c *http.Client) error {
		resp, err := c.Post(s.url()+"/v1/streams/pin/events", "application/json", strings.NewReader(`{"category":"travel"}`))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 202 {
			return fmt.Errorf("%s, %w", resp.Status, err)
		}
		return nil
	}
	before := trusting(public) // its connection stays open
	if err := post(before); err != nil {
		t.Fatal(err)
	}
	private2, public2 := pemPair(t, 2)
	put(cert, public2) // half of the change: the key is the old one
	for range 3 {
		if err := post(trusting(public)); err != nil {
			t.Errorf("with half a change: %v", err)
		}
	}
	put(key, private2)
	s.until(func() bool { return post(trusting(public2)) == nil }, "the renewed certificate is not served")
	if err := post(trusting(public)); err == nil {
		t.Error("the certificate before is still served")
	}
	if err := post(before); err != nil {
		t.Errorf("on the connection of before: %v", err)
	}
	plain, err := http.Get("http://" + s.addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	plain.Body.Close()
	if plain.StatusCode != 400 {
		t.Errorf("without TLS: %s", plain.Status)
	}
	s.stop()
}

// Asked to end, the process says so at once, takes requests as before for a while, lets those in progress end,
// and has lost nothing that it accepted.
func TestItDrains(t *testing.T) {
	prove.Invariant(t, "C1", prove.Disk, prove.SQLite)
	dir := t.TempDir()
	s := startIn(t, []string{"PINFLOW_DRAIN=2s"}, dir)
	s.post("pin", 1) // the lake has its table
	slow, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	const body = `{"category":"travel"}`
	if _, err := fmt.Fprintf(slow, "POST /v1/streams/pin/events HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", s.addr, len(body), body[:5]); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	accepted := int64(1)
	s.until(func() bool {
		if status, _ := s.ask("POST", "/v1/streams/pin/events", "", body); status != 202 {
			t.Fatalf("while it drains an event is answered %d", status)
		}
		accepted++
		resp, err := http.Get(s.url() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == 503
	}, "/readyz does not say that it ends")
	if _, err := io.WriteString(slow, body[5:]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if err != nil {
		t.Fatalf("the request in progress: %v", err)
	}
	if resp.StatusCode != 202 {
		t.Errorf("the request in progress: %s", resp.Status)
	}
	accepted++
	select {
	case err := <-s.done:
		if err != nil {
			t.Fatalf("it ended with %v\n%s", err, s.tail())
		}
	case <-time.After(time.Minute):
		t.Fatal("it did not end within a minute")
	}
	s.run()
	s.until(func() bool { return s.rows("pin") >= accepted }, "the lake lacks events that were accepted")
	if n := s.rows("pin"); n != accepted {
		t.Errorf("the lake has %d rows of %d accepted", n, accepted)
	}
	s.stop()
}
