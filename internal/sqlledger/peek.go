package sqlledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Blank tells whether there is no ledger at dsn, or one that knows of no stream. It makes and writes
// nothing. fault.Corrupt ledger_corrupt: the file is damaged.
func Blank(ctx context.Context, dsn string) (bool, error) {
	d, err := peek(ctx, dsn)
	if d == nil || err != nil {
		return err == nil, err
	}
	blank := true
	err = d.read(ctx, func(x *tx) error {
		var n int64
		if _, err := x.one(ctx, []any{&n}, x.d.tables+" AND "+x.d.tableName+" = 'streams'"); err != nil || n == 0 {
			return err
		}
		if _, err := x.one(ctx, []any{&n}, "SELECT count(*) FROM streams"); err != nil {
			return err
		}
		blank = n == 0
		return nil
	})
	if err = errors.Join(err, d.Close()); err != nil {
		return false, fmt.Errorf("looking at the ledger: %w", err)
	}
	return blank, nil
}

// peek opens what is there for reading; nil: nothing is.
func peek(ctx context.Context, dsn string) (*DB, error) {
	if isPostgres(dsn) {
		return openPostgres(ctx, dsn, nil)
	}
	abs, err := filepath.Abs(strings.TrimPrefix(dsn, "file:"))
	if err != nil {
		return nil, fmt.Errorf("finding the ledger file: %w", err)
	}
	if info, err := os.Stat(abs); errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() { // Open says what is wrong with a folder
		return nil, nil
	} else if err != nil {
		return nil, notWritable(abs, err)
	}
	d := &DB{dialect: sqliteDialect(abs)}
	if d.w, err = sqliteFile(abs, "mode=ro&_pragma=busy_timeout(10000)", nil); err != nil {
		return nil, err
	}
	d.r = d.w
	return d, nil
}
