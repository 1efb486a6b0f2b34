package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/pinflow/pinflow/internal/access"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// LocalKeys opens the project's ledger for its API keys alone, beside whatever runs on it: the first key
// is made before there is a server to ask. close must follow.
func LocalKeys(ctx context.Context, p *config.Project, log *slog.Logger) (keys *access.Keeper, closing func() error, err error) {
	if err := os.MkdirAll(p.Settings.Data, 0o755); err != nil {
		return nil, nil, folderFault(p.Settings.Data, err)
	}
	led, err := sqlledger.Open(ctx, p.Settings.Ledger.DSN, log)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the ledger: %w", err)
	}
	keys, err = access.New(access.Config{Streams: streamsOf(led, p)}, log, led)
	if err == nil {
		err = keys.Refresh(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(err, led.Close())
	}
	return keys, led.Close, nil
}

// streamsOf are the streams that a key can be limited to: those of the ledger, and of a project that has
// yet to be brought into it (nil: none).
func streamsOf(led *sqlledger.DB, p *config.Project) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		snap, err := led.Load(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the catalogue: %w", err)
		}
		var names []string
		for _, s := range snap.Streams {
			names = append(names, s.Name)
		}
		if p != nil {
			for _, s := range p.EventStreams() {
				names = append(names, s.Name)
			}
		}
		slices.Sort(names)
		return slices.Compact(names), nil
	}
}
