package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/apikey"
)

// Access says who somebody is. A nil one asks nobody for a key.
type Access interface {
	Required() bool // a request needs a key
	Find(ctx context.Context, text string) *apikey.Key
	FindSession(text string) *apikey.Key
	LogIn(ctx context.Context, keyText string) (text string, until time.Time, err error)
	LogOut(ctx context.Context, text string) error
}

// anyKey is the scope of what every key may.
const anyKey = "any"

// scopes are those of the routes that their methods do not tell: what is got is for those who read,
// what is posted for the administrator. A route that is not here is so guarded the more, not the less.
var scopes = map[string]string{
	"POST /v1/streams/{stream}/events": apikey.Write,
	"POST /pin/{$}":                    apikey.Write, "POST /pin": apikey.Write,
	"POST /geo/{$}": apikey.Write, "POST /geo": apikey.Write,
	"POST /user/{$}": apikey.Write, "POST /user": apikey.Write,
	"POST /topics/{topic}": apikey.Write,
	"POST /v1/query":       apikey.Read,
	"POST /v1/plan":        apikey.Read, // it writes nothing
	"GET /v1/keys":         apikey.Admin,
	"GET /version":         anyKey,
	"GET /openapi.json":    anyKey,
	"GET /v1/session":      anyKey,
	"DELETE /v1/session":   anyKey,
}

// heedStreams are the routes whose handlers look at the streams that a key is limited to. The others
// are closed to such keys.
var heedStreams = map[string]bool{
	"POST /v1/streams/{stream}/events": true,
	"POST /pin/{$}":                    true, "POST /pin": true, "POST /geo/{$}": true, "POST /geo": true, "POST /user/{$}": true, "POST /user": true,
	"POST /topics/{topic}": true,
	"GET /v1/views":        true, "GET /v1/views/{view}": true, "GET /v1/views/{view}/versions": true,
	"GET /v1/query": true, "POST /v1/query": true,
	"GET /v1/events-stream": true, "GET /v1/streams/{stream}/tail": true,
	"GET /v1/days": true, "GET /v1/days/{date}": true,
	"GET /v1/lake/{stream}/digest": true, "GET /v1/lake/{stream}/ids": true,
	"GET /v1/events/{id}/trace": true, "GET /v1/records/{topic}/{partition}/{offset}/trace": true,
	"GET /v1/dlq": true, "GET /v1/dlq/{group}": true,
	"GET /version": true, "GET /openapi.json": true, "GET /v1/session": true, "DELETE /v1/session": true,
}

// scope is what a route asks of a key.
func (rt *route) scope() string {
	if s, ok := scopes[rt.name()]; ok {
		return s
	}
	switch rt.method {
	case "": // the page
		return anyKey
	case http.MethodGet:
		return apikey.Read
	}
	return apikey.Admin
}

// authorize finds the key that a request comes with, and whether it may do what it asks; nil: no key
// is asked for.
func (a *API) authorize(rt *route, r *http.Request) (*apikey.Key, error) {
	if a.deps.Access == nil || rt.public || !a.deps.Access.Required() {
		return nil, nil
	}
	key, err := a.whoIs(r)
	if err != nil {
		return nil, err
	}
	if s := rt.scope(); s != anyKey && !key.May(s) {
		return nil, problemf(http.StatusForbidden, "scope_missing", "this needs a key with scope %s; key %s has %s", s, key.ID, strings.Join(key.Scopes, ", "))
	}
	if len(key.Streams) > 0 && rt.method != "" && !heedStreams[rt.name()] {
		return nil, problemf(http.StatusForbidden, "stream_not_allowed", "key %s is limited to the streams %s, and this tells of all", key.ID, strings.Join(key.Streams, ", "))
	}
	return key, nil
}

// whoIs finds the key in force that the request names: in its Authorization, else by its cookie.
func (a *API) whoIs(r *http.Request) (*apikey.Key, error) {
	given := r.Header.Values("Authorization")
	if len(given) == 0 {
		if c, err := r.Cookie(sessionCookie); err == nil {
			if key := a.deps.Access.FindSession(c.Value); key != nil {
				return key, nil
			}
		}
		return nil, problemf(http.StatusUnauthorized, "key_required", "this needs an API key: Authorization: Bearer KEY")
	}
	scheme, text, _ := strings.Cut(given[0], " ")
	if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return nil, problemf(http.StatusUnauthorized, "key_required", "send one Authorization: Bearer KEY")
	}
	if key := a.deps.Access.Find(r.Context(), strings.TrimSpace(text)); key != nil {
		return key, nil
	}
	return nil, badKey()
}

// badKey is the same for what never was a key, what was one and what is mistyped.
func badKey() *Problem {
	return problemf(http.StatusUnauthorized, "bad_key", "there is no such key in force")
}

// challenge says how to be let in, as RFC 6750 does.
func challenge(h http.Header, p *Problem) {
	switch p.Code {
	case "key_required":
		h.Set("WWW-Authenticate", `Bearer realm="pinflow"`)
	case "bad_key":
		h.Set("WWW-Authenticate", `Bearer realm="pinflow", error="invalid_token"`)
	case "scope_missing":
		h.Set("WWW-Authenticate", `Bearer realm="pinflow", error="insufficient_scope"`)
	}
}

// keyOf is the key of the request that w answers; nil: none was asked for.
func keyOf(w http.ResponseWriter) *apikey.Key {
	if r, ok := w.(*recorder); ok {
		return r.key
	}
	return nil
}

// keyID names the sender in the ids that an Idempotency-Key makes.
func keyID(w http.ResponseWriter) string {
	if k := keyOf(w); k != nil {
		return k.ID
	}
	return ""
}

// limited tells whether the request's key is for some streams only.
func limited(w http.ResponseWriter) bool {
	k := keyOf(w)
	return k != nil && len(k.Streams) > 0
}

// sees tells whether the request's key is for the stream.
func sees(w http.ResponseWriter, stream string) bool {
	k := keyOf(w)
	return k == nil || k.MayStream(stream)
}

// mayStream refuses a stream that the request's key is not for, whether there is one or not.
func mayStream(w http.ResponseWriter, stream string) error {
	if sees(w, stream) {
		return nil
	}
	k := keyOf(w)
	return problemf(http.StatusForbidden, "stream_not_allowed", "key %s is limited to the streams %s", k.ID, strings.Join(k.Streams, ", "))
}

// stillIn tells whether the key of an answer that goes on and on is still in force.
func (a *API) stillIn(w http.ResponseWriter, r *http.Request) bool {
	rec, ok := w.(*recorder)
	if !ok || a.deps.Access == nil {
		return true
	}
	_, err := a.authorize(rec.route, r)
	return err == nil
}
