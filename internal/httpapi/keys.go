package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/pinflow/pinflow/internal/apikey"
)

// Keys are the API keys, for their administrator.
type Keys interface {
	Make(ctx context.Context, name string, scopes, streams []string) (apikey.Key, string, error)
	List(ctx context.Context) ([]apikey.Key, error)
	Revoke(ctx context.Context, id string) (apikey.Key, error)
}

// keyBody is a key as people know it. Key, its text, is told once, to whoever made it.
type keyBody struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"`
	Streams   []string   `json:"streams"` // empty: all
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at"`
	Key       string     `json:"key,omitempty"`
}

func keyBodyOf(k *apikey.Key) keyBody {
	b := keyBody{ID: k.ID, Name: k.Name, Scopes: k.Scopes, Streams: k.Streams, CreatedAt: k.CreatedAt}
	if b.Streams == nil {
		b.Streams = []string{}
	}
	if k.Revoked() {
		b.RevokedAt = &k.RevokedAt
	}
	return b
}

func (a *API) listKeys(w http.ResponseWriter, r *http.Request) error {
	all, err := a.deps.Keys.List(r.Context())
	if err != nil {
		return err
	}
	out := make([]keyBody, len(all))
	for i := range all {
		out[i] = keyBodyOf(&all[i])
	}
	return writeJSON(w, http.StatusOK, map[string]any{"keys": out})
}

// maxKeyRequest is the most bytes of a request for a key.
const maxKeyRequest = 64 << 10

func (a *API) makeKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name    string   `json:"name"`
		Scopes  []string `json:"scopes"`
		Streams []string `json:"streams"`
	}
	if err := a.readJSON(w, r, maxKeyRequest, &in); err != nil {
		return err
	}
	key, text, err := a.deps.Keys.Make(r.Context(), in.Name, in.Scopes, in.Streams)
	if text == "" {
		return err
	}
	if err != nil { // it is made: whoever asked must have it
		a.log.Warn("a key was made, but the list could not be read again", "id", key.ID, "err", err)
	}
	b := keyBodyOf(&key)
	b.Key = text
	return writeJSON(w, http.StatusCreated, b)
}

func (a *API) revokeKey(w http.ResponseWriter, r *http.Request) error {
	key, err := a.deps.Keys.Revoke(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, keyBodyOf(&key))
}
