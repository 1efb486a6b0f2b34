package ledgertest

import (
	"sync"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/apikey"
	"github.com/pinflow/pinflow/internal/fault"
)

func keys(_ *testing.T, w *world) {
	got, sessions, err := w.l.Keys(w.ctx)
	w.ok(err)
	w.same([]apikey.Key{}, got)
	w.same([]apikey.Session{}, sessions)

	first := apikey.Key{ID: "aaa", Name: "web \"shop\"; --\u00e9", Hash: []byte{0, 1, 255}, Scopes: []string{"write", "read"}, Streams: []string{"geo", "pin"}}
	second := apikey.Key{ID: "000", Hash: []byte{2}, Scopes: []string{"admin"}, Streams: []string{}}
	for _, k := range []*apikey.Key{&first, &second} {
		added := must(w.l.AddKey(w.ctx, *k))(w)
		if time.Since(added.CreatedAt).Abs() > time.Hour {
			w.Fatalf("created at %v", added.CreatedAt)
		}
		k.CreatedAt = added.CreatedAt
		w.same(*k, added)
	}
	_, err = w.l.AddKey(w.ctx, apikey.Key{ID: "aaa", Hash: []byte{9}, Scopes: []string{"admin"}})
	w.fails(err, fault.Lost, "key_exists")
	got, _, err = w.l.Keys(w.ctx)
	w.ok(err)
	w.same([]apikey.Key{first, second}, got)

	for _, unknown := range []string{"", "bbb", "'; DROP TABLE api_keys; --"} {
		_, err = w.l.RevokeKey(w.ctx, unknown)
		w.fails(err, fault.Record, "unknown_key")
	}
	revoked := must(w.l.RevokeKey(w.ctx, "aaa"))(w)
	if revoked.RevokedAt.Before(first.CreatedAt) {
		w.Fatalf("revoked at %v", revoked.RevokedAt)
	}
	first.RevokedAt = revoked.RevokedAt
	w.same(first, revoked)
	w.same(first, must(w.l.RevokeKey(w.ctx, "aaa"))(w)) // once more changes nothing
	got, _, err = w.l.Keys(w.ctx)
	w.ok(err)
	w.same([]apikey.Key{first, second}, got)
}

func sessions(_ *testing.T, w *world) {
	for _, id := range []string{"k1", "k2"} {
		_, err := w.l.AddKey(w.ctx, apikey.Key{ID: id, Hash: []byte(id), Scopes: []string{"read"}})
		w.ok(err)
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	list := func() []apikey.Session {
		_, got, err := w.l.Keys(w.ctx)
		w.ok(err)
		return got
	}
	a := apikey.Session{ID: "a", Key: "k1", Hash: []byte{1}, ExpiresAt: until}
	b := apikey.Session{ID: "b", Key: "k2", Hash: []byte{2}, ExpiresAt: until}
	ended := apikey.Session{ID: "c", Key: "k2", Hash: []byte{3}, ExpiresAt: time.Now().Add(-time.Second)}
	for _, s := range []apikey.Session{a, ended, b} {
		w.ok(w.l.AddSession(w.ctx, s))
	}
	w.same([]apikey.Session{a, b}, list())
	w.fails(w.l.AddSession(w.ctx, apikey.Session{ID: "d", Key: "k3", Hash: []byte{4}, ExpiresAt: until}), fault.Record, "unknown_key")
	_, err := w.l.RevokeKey(w.ctx, "k1")
	w.ok(err)
	w.same([]apikey.Session{b}, list())
	w.fails(w.l.AddSession(w.ctx, a), fault.Record, "unknown_key")
	w.ok(w.l.EndSession(w.ctx, "b"))
	w.ok(w.l.EndSession(w.ctx, "b"))
	w.same([]apikey.Session{}, list())
}

// A log-in beside the revocation of its key leaves no session, whichever comes first.
func raceKeys(t *testing.T, w *world) {
	for i := range 20 {
		id := string(rune('a' + i))
		_, err := w.l.AddKey(w.ctx, apikey.Key{ID: id, Hash: []byte(id), Scopes: []string{"read"}})
		w.ok(err)
		var wg sync.WaitGroup
		wg.Go(func() {
			err := w.l.AddSession(w.ctx, apikey.Session{ID: id, Key: id, Hash: []byte{1}, ExpiresAt: time.Now().Add(time.Hour)})
			if err != nil && fault.CodeOf(err) != "unknown_key" {
				t.Errorf("log-in: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := w.l.RevokeKey(w.ctx, id); err != nil {
				t.Errorf("revocation: %v", err)
			}
		})
		wg.Wait()
	}
	_, left, err := w.l.Keys(w.ctx)
	w.ok(err)
	w.same([]apikey.Session{}, left)
}
