package access

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinflow/pinflow/internal/apikey"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/nearest"
)

// When keys are asked for.
const (
	Auto   = "auto"   // as soon as there is one, or was, and wherever other hosts may come
	Always = "always" // from the start: without a key nobody gets in
	Never  = "never"
)

// Store is the ledger's part with the keys.
type Store interface {
	Keys(ctx context.Context) ([]apikey.Key, []apikey.Session, error)
	AddKey(ctx context.Context, k apikey.Key) (apikey.Key, error)
	RevokeKey(ctx context.Context, id string) (apikey.Key, error)
	AddSession(ctx context.Context, s apikey.Session) error
	EndSession(ctx context.Context, id string) error
}

// Config says when keys are asked for. Zero values mean the defaults named.
type Config struct {
	Required string           // Auto, Always or Never; Auto
	Open     bool             // other hosts can reach us: with Auto, keys are asked for in any case
	Session  time.Duration    // how long a log-in lasts; 30 days
	Refresh  time.Duration    // how often the ledger is asked; 1 s
	Now      func() time.Time // time.Now
	Random   io.Reader        // crypto/rand

	Streams func(ctx context.Context) ([]string, error) // those that a key can be limited to; nil: any
}

func (c *Config) setDefaults() {
	if c.Required == "" {
		c.Required = Auto
	}
	if c.Session == 0 {
		c.Session = 30 * 24 * time.Hour
	}
	if c.Refresh == 0 {
		c.Refresh = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
}

// Keeper is the keys and sessions that are in force.
type Keeper struct {
	cfg   Config
	log   *slog.Logger
	store Store
	ring  atomic.Pointer[apikey.Ring]
	own   *apikey.Ring // the process's own key
	text  string       // of it

	asking sync.Mutex
	asked  time.Time // when the ring was last read; under asking
}

// New returns a keeper that knows no key of the ledger before Refresh or Run.
func New(cfg Config, log *slog.Logger, store Store) (*Keeper, error) {
	cfg.setDefaults()
	k := &Keeper{cfg: cfg, log: log, store: store}
	own, text, err := apikey.New(cfg.Random, "this process", []string{apikey.Write, apikey.Read}, nil)
	if err != nil {
		return nil, err
	}
	k.own, k.text = apikey.NewRing([]apikey.Key{own}, nil), text
	k.ring.Store(apikey.NewRing(nil, nil))
	return k, nil
}

// Own is the text of a key that only this process takes, for what it asks of itself.
func (k *Keeper) Own() string { return k.text }

// Run reads the ledger's keys again and again until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	t := time.NewTicker(k.cfg.Refresh)
	defer t.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		err := k.Refresh(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if (err != nil) != away {
			away = err != nil
			if away {
				k.log.Warn("the API keys cannot be read; the last ones known are used", "err", err)
			} else {
				k.log.Info("the API keys can be read again")
			}
		}
	}
}

// Refresh reads the ledger's keys.
func (k *Keeper) Refresh(ctx context.Context) error {
	k.asking.Lock()
	defer k.asking.Unlock()
	return k.refresh(ctx)
}

func (k *Keeper) refresh(ctx context.Context) error {
	k.asked = k.cfg.Now()
	keys, sessions, err := k.store.Keys(ctx)
	if err != nil {
		return err
	}
	k.ring.Store(apikey.NewRing(keys, sessions))
	return nil
}

// soon is how long an unknown key waits for the next look into the ledger.
const soon = 250 * time.Millisecond

// again reads the ledger for what was not found, but not more often than soon: a key that another
// process has just made is known at once, and whoever tries keys does not keep the ledger busy.
func (k *Keeper) again(ctx context.Context) {
	if !k.asking.TryLock() {
		return
	}
	defer k.asking.Unlock()
	if k.cfg.Now().Sub(k.asked) < soon {
		return
	}
	if err := k.refresh(ctx); err != nil && ctx.Err() == nil {
		k.log.Debug("looking for an unknown key", "err", err)
	}
}

// Required tells whether a request needs a key.
func (k *Keeper) Required() bool {
	switch k.cfg.Required {
	case Always:
		return true
	case Never:
		return false
	}
	return k.cfg.Open || k.ring.Load().Any()
}

// Any tells whether there ever was a key.
func (k *Keeper) Any() bool { return k.ring.Load().Any() }

// Find returns the key in force that the text is, or nil.
func (k *Keeper) Find(ctx context.Context, text string) *apikey.Key {
	if found := k.own.Find(text); found != nil {
		return found
	}
	if found := k.ring.Load().Find(text); found != nil {
		return found
	}
	if !apikey.Looks(text) {
		return nil
	}
	k.again(ctx)
	return k.ring.Load().Find(text)
}

// FindSession returns the key of the session that the text is, or nil.
func (k *Keeper) FindSession(text string) *apikey.Key {
	_, key := k.ring.Load().FindSession(text, k.cfg.Now())
	return key
}

// Make makes a key and returns its text, which nobody can ask for again. Without scopes the first key
// may do everything, later ones write and read.
func (k *Keeper) Make(ctx context.Context, name string, scopes, streams []string) (apikey.Key, string, error) {
	if len(scopes) == 0 {
		if err := k.Refresh(ctx); err != nil {
			return apikey.Key{}, "", err
		}
		scopes = []string{apikey.Write, apikey.Read}
		if !k.Any() && len(streams) == 0 {
			scopes = []string{apikey.Admin}
		}
	}
	key, text, err := apikey.New(k.cfg.Random, name, scopes, streams)
	if err != nil {
		return apikey.Key{}, "", err
	}
	if err := k.known(ctx, key.Streams); err != nil {
		return apikey.Key{}, "", err
	}
	if key, err = k.store.AddKey(ctx, key); err != nil {
		return apikey.Key{}, "", err
	}
	k.log.Info("made an API key", "id", key.ID, "name", key.Name, "scopes", key.Scopes, "streams", key.Streams)
	return key, text, k.Refresh(ctx)
}

// known refuses a limit to streams that there are not: a key for a misspelt one would open nothing.
func (k *Keeper) known(ctx context.Context, streams []string) error {
	if k.cfg.Streams == nil || len(streams) == 0 {
		return nil
	}
	all, err := k.cfg.Streams(ctx)
	if err != nil {
		return err
	}
	for _, s := range streams {
		if !slices.Contains(all, s) {
			return unknownStream(s, all)
		}
	}
	return nil
}

func unknownStream(name string, all []string) error {
	err := fault.New(fault.Record, "bad_key_request", "there is no stream %q", name).At("streams")
	if near := nearest.Name(name, all); near != "" {
		return err.WithAdvice("did you mean %q?", near)
	}
	return err.WithAdvice("use one or more of: %s", strings.Join(all, ", "))
}

// List returns every key, oldest first, revoked ones too.
func (k *Keeper) List(ctx context.Context) ([]apikey.Key, error) {
	keys, _, err := k.store.Keys(ctx)
	return keys, err
}

// Revoke ends a key and the log-ins made with it.
func (k *Keeper) Revoke(ctx context.Context, id string) (apikey.Key, error) {
	key, err := k.store.RevokeKey(ctx, id)
	if err != nil {
		return apikey.Key{}, err
	}
	k.log.Info("revoked an API key", "id", key.ID, "name", key.Name)
	return key, k.Refresh(ctx)
}

// LogIn makes a session of the key that the text is, and says until when it lasts.
func (k *Keeper) LogIn(ctx context.Context, keyText string) (text string, until time.Time, err error) {
	key := k.Find(ctx, keyText)
	if key == nil || k.own.Find(keyText) != nil {
		return "", time.Time{}, fault.New(fault.Record, "bad_key", "there is no such key in force")
	}
	s, text, err := apikey.NewSession(k.cfg.Random, key.ID, k.cfg.Now().Add(k.cfg.Session))
	if err != nil {
		return "", time.Time{}, err
	}
	if err := k.store.AddSession(ctx, s); err != nil {
		return "", time.Time{}, fmt.Errorf("logging in: %w", err)
	}
	return text, s.ExpiresAt, k.Refresh(ctx)
}

// LogOut ends the session that the text is, if it is one.
func (k *Keeper) LogOut(ctx context.Context, text string) error {
	s, _ := k.ring.Load().FindSession(text, k.cfg.Now())
	if s == nil {
		return nil
	}
	if err := k.store.EndSession(ctx, s.ID); err != nil {
		return fmt.Errorf("logging out: %w", err)
	}
	return k.Refresh(ctx)
}
