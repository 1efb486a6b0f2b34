package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

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
	keys, err = access.New(access.Config{}, log, led)
	if err == nil {
		err = keys.Refresh(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(err, led.Close())
	}
	return keys, led.Close, nil
}
