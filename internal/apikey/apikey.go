package apikey

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pinflow/pinflow/internal/fault"
)

// Scopes of a key. Admin includes the others.
const (
	Write = "write" // post events
	Read  = "read"  // ask for anything but keys
	Admin = "admin" // everything, keys too
)

// Scopes are all there are, the least first.
var Scopes = []string{Write, Read, Admin}

// Key is an API key as it is kept.
type Key struct {
	ID        string
	Name      string   // for people
	Hash      []byte   // SHA-256 of the text; the text is 256 random bits, so it needs no salt
	Scopes    []string // in the order of Scopes
	Streams   []string // sorted; empty: all
	CreatedAt time.Time
	RevokedAt time.Time // zero: in force
}

// Session is a log-in of the page with a key: it may do what the key may, until it ends.
type Session struct {
	ID        string
	Key       string // id of the key
	Hash      []byte // as of a key
	ExpiresAt time.Time
}

// Prefixes of the texts, by which a secret is found where it should not be.
const (
	keyPrefix     = "pf_"
	sessionPrefix = "pfs_"
)

var letters = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// textRE is the shape of a key's or session's text: prefix, id, 256 bits.
var textRE = regexp.MustCompile(`^pfs?_([a-z2-9]{12})_[a-z2-9]{52}$`)

const maxText = 4 + 12 + 1 + 52

// New makes a key from 40 bytes of random. The text is told once, to the caller; it is nowhere else.
func New(random io.Reader, name string, scopes, streams []string) (k Key, text string, err error) {
	k = Key{Name: strings.TrimSpace(name), Streams: slices.Compact(slices.Sorted(slices.Values(streams)))}
	for _, s := range Scopes {
		if slices.Contains(scopes, s) {
			k.Scopes = append(k.Scopes, s)
		}
	}
	if err := check(&k, scopes); err != nil {
		return Key{}, "", err
	}
	k.ID, text, k.Hash, err = mint(random, keyPrefix)
	return k, text, err
}

// NewSession makes a session of a key.
func NewSession(random io.Reader, key string, expires time.Time) (s Session, text string, err error) {
	s = Session{Key: key, ExpiresAt: expires}
	s.ID, text, s.Hash, err = mint(random, sessionPrefix)
	return s, text, err
}

func mint(random io.Reader, prefix string) (id, text string, hash []byte, err error) {
	var raw [40]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", "", nil, fmt.Errorf("making a key: %w", err)
	}
	id = letters.EncodeToString(raw[:8])[:12]
	text = prefix + id + "_" + letters.EncodeToString(raw[8:])
	return id, text, hashOf(text), nil
}

func hashOf(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// maxName is the most characters of a name, maxStreams the most streams of a limit.
const (
	maxName    = 100
	maxStreams = 100
)

var streamRE = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

func check(k *Key, scopes []string) error {
	bad := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Record, "bad_key_request", format, args...)
	}
	if len(scopes) == 0 {
		return bad("a key needs a scope").WithAdvice("use one or more of: %s", strings.Join(Scopes, ", "))
	}
	for _, s := range scopes {
		if !slices.Contains(Scopes, s) {
			return bad("unknown scope %q", s).WithAdvice("use one or more of: %s", strings.Join(Scopes, ", "))
		}
	}
	if !utf8.ValidString(k.Name) || utf8.RuneCountInString(k.Name) > maxName || strings.ContainsFunc(k.Name, unicode.IsControl) {
		return bad("the name is not text of at most %d characters", maxName)
	}
	if len(k.Streams) > maxStreams {
		return bad("a key can be limited to at most %d streams", maxStreams)
	}
	for _, s := range k.Streams {
		if !streamRE.MatchString(s) {
			return bad("%q is no name of a stream", s)
		}
	}
	if len(k.Streams) > 0 && slices.Contains(k.Scopes, Admin) {
		return bad("a key with scope admin cannot be limited to streams").WithAdvice("leave out the scope admin, or the limit")
	}
	return nil
}

// Revoked tells whether the key counts no more.
func (k *Key) Revoked() bool { return !k.RevokedAt.IsZero() }

// May tells whether the key has the scope.
func (k *Key) May(scope string) bool {
	return slices.Contains(k.Scopes, scope) || slices.Contains(k.Scopes, Admin)
}

// MayStream tells whether the key is for the stream.
func (k *Key) MayStream(stream string) bool {
	return len(k.Streams) == 0 || slices.Contains(k.Streams, stream)
}

// Ring finds keys and sessions by their text. It is immutable.
type Ring struct {
	keys     map[string]*Key
	sessions map[string]*Session
}

// NewRing makes a ring of all keys and sessions; the revoked find nothing.
func NewRing(keys []Key, sessions []Session) *Ring {
	r := &Ring{keys: make(map[string]*Key, len(keys)), sessions: make(map[string]*Session, len(sessions))}
	for i := range keys {
		r.keys[keys[i].ID] = &keys[i]
	}
	for i := range sessions {
		r.sessions[sessions[i].ID] = &sessions[i]
	}
	return r
}

// Any tells whether there ever was a key, revoked ones too.
func (r *Ring) Any() bool { return len(r.keys) > 0 }

// nobody is what a text of an unknown id is compared with, so that it takes as long as a known one.
var nobody = make([]byte, sha256.Size)

// Find returns the key that the text is, or nil.
func (r *Ring) Find(text string) *Key {
	k := r.keys[idIn(text, keyPrefix)]
	hash := nobody
	if k != nil {
		hash = k.Hash
	}
	if !same(text, hash) || k == nil || k.Revoked() {
		return nil
	}
	return k
}

// FindSession returns the session that the text is and its key, or nil: also when it ended by now, or
// its key was revoked.
func (r *Ring) FindSession(text string, now time.Time) (*Session, *Key) {
	s := r.sessions[idIn(text, sessionPrefix)]
	hash := nobody
	if s != nil {
		hash = s.Hash
	}
	if !same(text, hash) || s == nil || !now.Before(s.ExpiresAt) {
		return nil, nil
	}
	k := r.keys[s.Key]
	if k == nil || k.Revoked() {
		return nil, nil
	}
	return s, k
}

func same(text string, hash []byte) bool {
	if len(text) > maxText {
		return false
	}
	return subtle.ConstantTimeCompare(hashOf(text), hash) == 1
}

// idIn is the id that a text names, "" when it has not the shape of one.
func idIn(text, prefix string) string {
	if len(text) > maxText || !strings.HasPrefix(text, prefix) {
		return ""
	}
	m := textRE.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

// Looks tells whether a text has the shape of a key.
func Looks(text string) bool { return idIn(text, keyPrefix) != "" }
