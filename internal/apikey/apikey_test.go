package apikey

import (
	"bytes"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

func mustNew(t *testing.T, scopes, streams []string) (Key, string) {
	t.Helper()
	k, text, err := New(rand.Reader, " web shop ", scopes, streams)
	if err != nil {
		t.Fatal(err)
	}
	return k, text
}

func TestAKeyIsFoundByItsTextAlone(t *testing.T) {
	k, text := mustNew(t, []string{Write}, nil)
	other, _ := mustNew(t, []string{Read}, nil)
	r := NewRing([]Key{k, other}, nil)
	if got := r.Find(text); got == nil || got.ID != k.ID || got.Name != "web shop" {
		t.Fatalf("%+v", got)
	}
	last := "a"
	if strings.HasSuffix(text, last) {
		last = "b"
	}
	for _, wrong := range []string{
		"", text[:len(text)-1], text + "a", text[:len(text)-1] + last, strings.ToUpper(text), " " + text, text + "\n",
		strings.Replace(text, k.ID, other.ID, 1), "pf_" + k.ID + "_", k.ID, string(k.Hash), strings.Repeat("x", 1<<20),
	} {
		if r.Find(wrong) != nil {
			t.Errorf("%.80q is taken", wrong)
		}
	}
	if bytes.Contains(k.Hash, []byte(text)) || strings.Contains(text, string(k.Hash)) || !Looks(text) || Looks("pf_") {
		t.Error("the hash tells of the text, or the text has not its shape")
	}
	k.RevokedAt = time.Now()
	if r := NewRing([]Key{k}, nil); r.Find(text) != nil || !r.Any() {
		t.Error("a revoked key is taken, or forgotten")
	}
}

func TestASessionEndsWithItsTimeAndItsKey(t *testing.T) {
	now := time.Now()
	k, keyText := mustNew(t, []string{Read}, nil)
	s, text, err := NewSession(rand.Reader, k.ID, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	r := NewRing([]Key{k}, []Session{s})
	if got, key := r.FindSession(text, now); got == nil || key == nil || got.ID != s.ID || key.ID != k.ID {
		t.Fatalf("%+v %+v", got, key)
	}
	for name, found := range map[string]func() (*Session, *Key){
		"after its end":       func() (*Session, *Key) { return r.FindSession(text, s.ExpiresAt) },
		"a key as a session":  func() (*Session, *Key) { return r.FindSession(keyText, now) },
		"a session as a key":  func() (*Session, *Key) { return nil, r.Find(text) },
		"with another secret": func() (*Session, *Key) { return r.FindSession(text[:len(text)-4]+"aaaa", now) },
		"without its key":     func() (*Session, *Key) { return NewRing(nil, []Session{s}).FindSession(text, now) },
		"of a revoked key": func() (*Session, *Key) {
			gone := k
			gone.RevokedAt = now
			return NewRing([]Key{gone}, []Session{s}).FindSession(text, now)
		},
	} {
		if s, k := found(); s != nil || k != nil {
			t.Errorf("%s it is taken", name)
		}
	}
}

func TestScopesAndStreams(t *testing.T) {
	for _, c := range []struct {
		scopes, streams, may []string
		stream               string
		mayStream            bool
	}{
		{[]string{Write}, nil, []string{Write}, "pin", true},
		{[]string{Read, Write, Read}, []string{"geo", "pin", "geo"}, []string{Write, Read}, "pin", true},
		{[]string{Read}, []string{"geo"}, []string{Read}, "pin", false},
		{[]string{Admin}, nil, Scopes, "pin", true},
	} {
		k, _ := mustNew(t, c.scopes, c.streams)
		for _, s := range Scopes {
			if k.May(s) != slices.Contains(c.may, s) {
				t.Errorf("%v may %s: %v", c.scopes, s, k.May(s))
			}
		}
		if k.MayStream(c.stream) != c.mayStream {
			t.Errorf("%v: %s is %v", c.streams, c.stream, k.MayStream(c.stream))
		}
	}
}

func TestWhatIsNoKeyIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		name            string
		scopes, streams []string
	}{
		"no scope":           {},
		"unknown scope":      {scopes: []string{"write", "root"}},
		"long name":          {name: strings.Repeat("é", 101), scopes: Scopes},
		"control character":  {name: "a\x1b[2Jb", scopes: Scopes},
		"broken UTF-8":       {name: "\xff", scopes: Scopes},
		"not a stream":       {scopes: []string{Write}, streams: []string{"pin,geo"}},
		"admin of one":       {scopes: []string{Admin}, streams: []string{"pin"}},
		"far too many":       {scopes: []string{Write}, streams: many(101)},
		"a stream in quotes": {scopes: []string{Write}, streams: []string{`"pin"`}},
	} {
		_, text, err := New(rand.Reader, c.name, c.scopes, c.streams)
		if fault.CodeOf(err) != "bad_key_request" || text != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := New(strings.NewReader("short"), "", Scopes, nil); err == nil {
		t.Error("a key without enough random is made")
	}
}

func many(n int) (out []string) {
	for i := range n {
		out = append(out, "s"+strings.Repeat("x", i/26)+string(rune('a'+i%26)))
	}
	return out
}
