package access_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinflow/pinflow/internal/access"
	"github.com/pinflow/pinflow/internal/apikey"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// memStore is a ledger's keys in memory.
type memStore struct {
	mu       sync.Mutex
	keys     []apikey.Key
	sessions []apikey.Session
	reads    int
	fail     error
}

func (m *memStore) Keys(context.Context) ([]apikey.Key, []apikey.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return slices.Clone(m.keys), slices.Clone(m.sessions), m.fail
}

func (m *memStore) AddKey(_ context.Context, k apikey.Key) (apikey.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.CreatedAt = time.Now()
	m.keys = append(m.keys, k)
	return k, m.fail
}

func (m *memStore) RevokeKey(_ context.Context, id string) (apikey.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.keys {
		if m.keys[i].ID == id {
			m.keys[i].RevokedAt = time.Now()
			return m.keys[i], m.fail
		}
	}
	return apikey.Key{}, fault.New(fault.Record, "unknown_key", "no")
}

func (m *memStore) AddSession(_ context.Context, s apikey.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = append(m.sessions, s)
	return m.fail
}

func (m *memStore) EndSession(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = slices.DeleteFunc(m.sessions, func(s apikey.Session) bool { return s.ID == id })
	return m.fail
}

func newKeeper(t *testing.T, cfg access.Config, s access.Store, log *slog.Logger) *access.Keeper {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k, err := access.New(cfg, log, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestWhenKeysAreAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		cfg         access.Config
		none, after bool
	}{
		"this host alone": {access.Config{}, false, true},
		"other hosts":     {access.Config{Open: true}, true, true},
		"always":          {access.Config{Required: access.Always}, true, true},
		"never":           {access.Config{Required: access.Never}, false, false},
	} {
		k := newKeeper(t, c.cfg, &memStore{}, nil)
		if k.Required() != c.none {
			t.Errorf("%s: %v without a key", name, k.Required())
		}
		key, _, err := k.Make(t.Context(), "", nil, nil)
		if err != nil || k.Required() != c.after {
			t.Errorf("%s: %v with a key: %v", name, k.Required(), err)
		}
		if _, err := k.Revoke(t.Context(), key.ID); err != nil || k.Required() != c.after {
			t.Errorf("%s: the door opens when the last key is revoked: %v", name, err)
		}
	}
}

func TestTheFirstKeyMayDoEverything(t *testing.T) {
	k := newKeeper(t, access.Config{}, &memStore{}, nil)
	for i, want := range [][]string{{"admin"}, {"write", "read"}} {
		key, _, err := k.Make(t.Context(), "", nil, nil)
		if err != nil || !slices.Equal(key.Scopes, want) {
			t.Errorf("key %d: %v %v", i, key.Scopes, err)
		}
	}
	if _, text, err := k.Make(t.Context(), "", []string{"root"}, nil); fault.CodeOf(err) != "bad_key_request" || text != "" {
		t.Errorf("%v", err)
	}
	all, err := k.List(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("%v %v", all, err)
	}
}

func TestOneKeeperRevokesForAll(t *testing.T) {
	prove.Invariant(t, "S1")
	testbed.Bubble(t, func(t *testing.T) {
		s := &memStore{}
		a, b := newKeeper(t, access.Config{}, s, nil), newKeeper(t, access.Config{}, s, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		key, text, err := a.Make(t.Context(), "", nil, nil)
		if err != nil || a.Find(ctx, text) == nil {
			t.Fatalf("%v", err)
		}
		time.Sleep(300 * time.Millisecond) // of the bubble: within it b does not ask again
		if b.Find(ctx, text) == nil {
			t.Error("the other does not know the key at once")
		}
		session, _, err := b.LogIn(ctx, text)
		if err != nil || b.FindSession(session) == nil {
			t.Fatalf("%v", err)
		}
		if _, err := a.Revoke(ctx, key.ID); err != nil || a.Find(ctx, text) != nil {
			t.Errorf("it is taken after its revocation: %v", err)
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if b.Find(ctx, text) != nil || b.FindSession(session) != nil {
			t.Error("the other takes the key a second after its revocation")
		}
		if _, _, err := b.LogIn(ctx, text); fault.CodeOf(err) != "bad_key" {
			t.Errorf("log-in with a revoked key: %v", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTheKeysLastKnownGoOnWhileTheLedgerIsAway(t *testing.T) {
	s := &memStore{}
	k := newKeeper(t, access.Config{}, s, nil)
	_, text, err := k.Make(t.Context(), "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.fail = errors.New("away")
	if err := k.Refresh(t.Context()); err == nil || k.Find(t.Context(), text) == nil || !k.Required() {
		t.Errorf("the key is forgotten: %v", err)
	}
}

func TestTryingKeysDoesNotKeepTheLedgerBusy(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		s := &memStore{}
		k := newKeeper(t, access.Config{}, s, nil)
		_, text, err := apikey.New(bytes.NewReader(make([]byte, 40)), "", []string{"read"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		before := s.reads
		for range 1000 {
			if k.Find(t.Context(), text) != nil || k.Find(t.Context(), "x") != nil {
				t.Fatal("found")
			}
			time.Sleep(time.Millisecond)
		}
		if n := s.reads - before; n > 4 {
			t.Errorf("%d reads in a second", n)
		}
	})
}

func TestSessionsEnd(t *testing.T) {
	s := &memStore{}
	now := time.Now()
	k := newKeeper(t, access.Config{Session: time.Hour, Now: func() time.Time { return now }}, s, nil)
	_, text, err := k.Make(t.Context(), "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	one, until, err := k.LogIn(t.Context(), text)
	if err != nil || !until.Equal(now.Add(time.Hour)) {
		t.Fatalf("%v %v", until, err)
	}
	two, _, err := k.LogIn(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.LogOut(t.Context(), one); err != nil || k.FindSession(one) != nil || k.FindSession(two) == nil {
		t.Errorf("one of two sessions ends alone: %v", err)
	}
	if err := k.LogOut(t.Context(), "nonsense"); err != nil {
		t.Error(err)
	}
	now = until
	if k.FindSession(two) != nil {
		t.Error("a session outlives its time")
	}
	if _, _, err := k.LogIn(t.Context(), k.Own()); fault.CodeOf(err) != "bad_key" {
		t.Errorf("the process's own key logs in: %v", err)
	}
}

// Invariant S1: no text of a key or session gets into the log or an error.
func TestNoSecretIsLogged(t *testing.T) {
	prove.Invariant(t, "S1")
	var out bytes.Buffer
	s := &memStore{}
	k := newKeeper(t, access.Config{}, s, slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	key, text, err := k.Make(t.Context(), "shop", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	session, _, err := k.LogIn(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Revoke(t.Context(), key.ID)
	errs := []error{err}
	s.fail = errors.New("away")
	_, _, err = k.LogIn(t.Context(), text)
	errs = append(errs, err, k.LogOut(t.Context(), session))
	_, err = k.Revoke(t.Context(), text)
	said := out.String() + errors.Join(append(errs, err)...).Error()
	for _, secret := range []string{text, session, k.Own(), text[len(text)-52:], session[len(session)-52:]} {
		if strings.Contains(said, secret) {
			t.Errorf("a secret is told: %s", said)
		}
	}
	if !strings.Contains(said, key.ID) {
		t.Errorf("the log does not name the key's id: %s", said)
	}
}
