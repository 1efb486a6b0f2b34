package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

// sessionCookie is the name of the page's cookie.
const sessionCookie = "pinflow_session"

// maxSession is the most bytes of a log-in.
const maxSession = 8 << 10

//go:embed login.html
var loginText string

var loginPage = template.Must(template.New("login").Parse(loginText))

// loginPolicy allows the log-in its one style, by its hash, and its form.
var loginPolicy = "default-src 'none'; style-src 'sha256-" + styleHash(loginText) + "'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func styleHash(html string) string {
	_, rest, _ := strings.Cut(html, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// loginView is what the log-in page shows.
type loginView struct {
	To      string
	Message string
	In      bool
	Open    bool
}

// login serves the log-in page.
func (a *API) login(w http.ResponseWriter, r *http.Request) error {
	v := loginView{To: localPath(r.URL.Query().Get("to"))}
	if _, err := a.whoIs(r); err == nil {
		v.In = true
	}
	v.Open = !a.deps.Access.Required()
	return writeLogin(w, http.StatusOK, &v)
}

func writeLogin(w http.ResponseWriter, status int, v *loginView) error {
	var out bytes.Buffer
	if err := loginPage.Execute(&out, v); err != nil {
		return fmt.Errorf("making the log-in page: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", loginPolicy)
	h.Set("Referrer-Policy", "same-origin") // without a referrer a browser's form has no origin either
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // the client is gone: nobody is left to tell
	return nil
}

// localPath keeps a redirect on this server.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") || u.Host != "" || u.Scheme != "" || u.Path == "/login" {
		return "/"
	}
	return to
}

// logIn makes a session of a key: from the page's form, or from JSON.
func (a *API) logIn(w http.ResponseWriter, r *http.Request) error {
	kind, err := mediaType(r)
	if err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxSession)
	if kind == curlDefault {
		return a.logInByForm(w, r)
	}
	if kind != "application/json" {
		return problemf(http.StatusUnsupportedMediaType, "unsupported_type", "Content-Type %q is not taken: send application/json", kind)
	}
	var in struct {
		Key string `json:"key"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return problemf(http.StatusBadRequest, "malformed_body", `the body is not {"key":"…"}`) // not what it is: it may hold a key
	}
	if err := a.begin(w, r, in.Key); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) logInByForm(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return problemf(http.StatusBadRequest, "malformed_body", "the form cannot be read")
	}
	to := localPath(r.PostForm.Get("to"))
	if r.PostForm.Get("end") != "" {
		if err := a.end(w, r); err != nil {
			return err
		}
		return seeOther(w, "/login")
	}
	err := a.begin(w, r, strings.TrimSpace(r.PostForm.Get("key")))
	if fault.CodeOf(err) == "bad_key" || isBadKey(err) {
		return writeLogin(w, http.StatusUnauthorized, &loginView{To: to, Message: "There is no such key in force."})
	}
	if err != nil {
		return err
	}
	return seeOther(w, to)
}

func isBadKey(err error) bool {
	p, ok := err.(*Problem) //nolint:errorlint // begin returns it as it is
	return ok && p.Code == "bad_key"
}

func seeOther(w http.ResponseWriter, to string) error {
	w.Header().Set("Location", to)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

func (a *API) begin(w http.ResponseWriter, r *http.Request, key string) error {
	text, until, err := a.deps.Access.LogIn(r.Context(), key)
	if fault.CodeOf(err) == "bad_key" || fault.CodeOf(err) == "unknown_key" {
		return badKey()
	}
	if err != nil {
		return err
	}
	setSession(w, r, text, until)
	return nil
}

// session tells who asks: the key of the request, or of its session; null where no key is asked for.
func (a *API) session(w http.ResponseWriter, _ *http.Request) error {
	type who struct {
		ID      string   `json:"id"`
		Name    string   `json:"name"`
		Scopes  []string `json:"scopes"`
		Streams []string `json:"streams"` // empty: all
	}
	var out struct {
		Key *who `json:"key"`
	}
	if k := keyOf(w); k != nil {
		out.Key = &who{k.ID, k.Name, k.Scopes, append([]string{}, k.Streams...)}
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, out)
}

// logOut ends the session of the request's cookie.
func (a *API) logOut(w http.ResponseWriter, r *http.Request) error {
	if err := a.end(w, r); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) end(w http.ResponseWriter, r *http.Request) error {
	if c, err := r.Cookie(sessionCookie); err == nil {
		if err := a.deps.Access.LogOut(r.Context(), c.Value); err != nil {
			return err
		}
	}
	setSession(w, r, "", time.Unix(0, 0))
	return nil
}

// setSession sets the cookie: no script reads it, no other site's page sends it.
func setSession(w http.ResponseWriter, r *http.Request, text string, until time.Time) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: text, Path: "/", Expires: until.UTC(), HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"),
	})
	w.Header().Set("Cache-Control", "no-store")
}

// toLogin sends somebody who wants the page to the log-in.
func toLogin(w http.ResponseWriter, r *http.Request) error {
	return seeOther(w, "/login?to="+url.QueryEscape(localPath(r.URL.RequestURI())))
}

// wantsPage tells whether a browser asks for the page, rather than a script or a file of it.
func wantsPage(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") && !isAPI(r.URL.Path)
}
