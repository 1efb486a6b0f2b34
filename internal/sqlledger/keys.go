package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/pinflow/pinflow/internal/apikey"
	"github.com/pinflow/pinflow/internal/fault"
)

const keyColumns = "id, name, hash, scopes, streams, created_at, revoked_at"

func scanKey(scan func(...any) error) (apikey.Key, error) {
	var k apikey.Key
	var scopes, streams string
	var created, revoked sql.NullInt64
	err := scan(&k.ID, &k.Name, &k.Hash, &scopes, &streams, &created, &revoked)
	k.Scopes, k.Streams = strings.Fields(scopes), strings.Fields(streams)
	k.CreatedAt, k.RevokedAt = moment(created), moment(revoked)
	return k, err
}

// Keys implements ledger.Keys.
func (d *DB) Keys(ctx context.Context) ([]apikey.Key, []apikey.Session, error) {
	keys, sessions := []apikey.Key{}, []apikey.Session{}
	err := d.read(ctx, func(x *tx) error {
		err := x.each(ctx, func(r *sql.Rows) error {
			k, err := scanKey(r.Scan)
			keys = append(keys, k)
			return err
		}, "SELECT "+keyColumns+" FROM api_keys ORDER BY created_at, id")
		if err != nil {
			return err
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		return x.each(ctx, func(r *sql.Rows) error {
			var s apikey.Session
			var expires sql.NullInt64
			err := r.Scan(&s.ID, &s.Key, &s.Hash, &expires)
			s.ExpiresAt = moment(expires)
			sessions = append(sessions, s)
			return err
		}, "SELECT id, key_id, hash, expires FROM sessions WHERE expires > ? ORDER BY id", now)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the API keys: %w", err)
	}
	return keys, sessions, nil
}

// AddKey implements ledger.Keys.
func (d *DB) AddKey(ctx context.Context, k apikey.Key) (apikey.Key, error) {
	err := d.write(ctx, noLock, func(x *tx) error {
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		n, err := x.exec(ctx, `INSERT INTO api_keys (id, name, hash, scopes, streams, created_at) VALUES (?, ?, ?, ?, ?, ?)
		    ON CONFLICT DO NOTHING`, k.ID, k.Name, k.Hash, strings.Join(k.Scopes, " "), strings.Join(k.Streams, " "), now)
		if err == nil && n == 0 {
			err = fault.New(fault.Lost, "key_exists", "there is a key %s already", k.ID)
		}
		k.CreatedAt = moment(sql.NullInt64{Int64: now})
		return err
	})
	if err != nil {
		return apikey.Key{}, fmt.Errorf("adding an API key: %w", err)
	}
	return k, nil
}

// RevokeKey implements ledger.Keys.
func (d *DB) RevokeKey(ctx context.Context, id string) (apikey.Key, error) {
	var k apikey.Key
	err := d.write(ctx, noLock, func(x *tx) error {
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		// The key's row comes first, here and in AddSession: a log-in waits for us, or we for it.
		if _, err := x.exec(ctx, "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", now, id); err != nil {
			return err
		}
		if _, err := x.exec(ctx, "DELETE FROM sessions WHERE key_id = ?", id); err != nil {
			return err
		}
		found := false
		err = x.each(ctx, func(r *sql.Rows) (err error) {
			found = true
			k, err = scanKey(r.Scan)
			return err
		}, "SELECT "+keyColumns+" FROM api_keys WHERE id = ?", id)
		if err == nil && !found {
			err = unknownKey(id)
		}
		return err
	})
	if err != nil {
		return apikey.Key{}, fmt.Errorf("revoking an API key: %w", err)
	}
	return k, nil
}

// unknownKey does not repeat what was asked for unless it can be an id: it may be a key's text.
func unknownKey(id string) error {
	if len(id) > 12 {
		return fault.New(fault.Record, "unknown_key", "there is no such key").WithAdvice("name its id, as `pinflow keys ls` lists it")
	}
	return fault.New(fault.Record, "unknown_key", "there is no key %q", id).WithAdvice("see them with `pinflow keys ls`")
}

// AddSession implements ledger.Keys.
func (d *DB) AddSession(ctx context.Context, s apikey.Session) error {
	err := d.write(ctx, noLock, func(x *tx) error {
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		var one int64
		found, err := x.one(ctx, []any{&one}, "SELECT 1 FROM api_keys WHERE id = ? AND revoked_at IS NULL"+x.d.forUpdate, s.Key)
		if err != nil {
			return err
		}
		if !found {
			return unknownKey(s.Key)
		}
		if _, err := x.exec(ctx, "DELETE FROM sessions WHERE expires <= ?", now); err != nil {
			return err
		}
		_, err = x.exec(ctx, "INSERT INTO sessions (id, key_id, hash, expires) VALUES (?, ?, ?, ?)", s.ID, s.Key, s.Hash, s.ExpiresAt.UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("adding a session: %w", err)
	}
	return nil
}

// EndSession implements ledger.Keys.
func (d *DB) EndSession(ctx context.Context, id string) error {
	err := d.write(ctx, noLock, func(x *tx) error {
		_, err := x.exec(ctx, "DELETE FROM sessions WHERE id = ?", id)
		return err
	})
	if err != nil {
		return fmt.Errorf("ending a session: %w", err)
	}
	return nil
}
