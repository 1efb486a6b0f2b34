package sqlledger

import (
	"context"
	"fmt"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Acquire implements ledger.Jobs.
func (d *DB) Acquire(ctx context.Context, name, holder string, ttl time.Duration) (ledger.Lease, error) {
	l := ledger.Lease{Name: name, Holder: holder}
	err := d.write(ctx, noLock, func(x *tx) error {
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		// The row comes first: two first comers then wait for each other at the same row.
		if _, err := x.exec(ctx, `INSERT INTO leases (name, number, holder, expires) VALUES (?, 0, '', 0)
		    ON CONFLICT DO NOTHING`, name); err != nil {
			return err
		}
		found, err := x.one(ctx, []any{&l.Number}, `UPDATE leases SET number = number + 1, holder = ?, expires = ?
		    WHERE name = ? AND (expires <= ? OR holder = ?) RETURNING number`, holder, now+ttl.Microseconds(), name, now, holder)
		if err != nil || found {
			return err
		}
		var other string
		if _, err := x.one(ctx, []any{&other}, "SELECT holder FROM leases WHERE name = ?", name); err != nil {
			return err
		}
		return fault.New(fault.Lost, "lease_held", "lease %s is held by %s", name, other)
	})
	if err != nil {
		return ledger.Lease{}, fmt.Errorf("acquiring lease %s: %w", name, err)
	}
	return l, nil
}

// Renew implements ledger.Jobs.
func (d *DB) Renew(ctx context.Context, l ledger.Lease, ttl time.Duration) error {
	return d.setLease(ctx, l, "renewing", l.Holder, func(now int64) int64 { return now + ttl.Microseconds() })
}

// Release implements ledger.Jobs. Giving up what is no longer ours is fault.Lost, and harmless.
func (d *DB) Release(ctx context.Context, l ledger.Lease) error {
	return d.setLease(ctx, l, "releasing", "", func(int64) int64 { return 0 })
}

func (d *DB) setLease(ctx context.Context, l ledger.Lease, verb, holder string, expires func(now int64) int64) error {
	err := d.write(ctx, noLock, func(x *tx) error {
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		n, err := x.exec(ctx, "UPDATE leases SET holder = ?, expires = ? WHERE name = ? AND number = ? AND holder = ?",
			holder, expires(now), l.Name, l.Number, l.Holder)
		if err == nil && n == 0 {
			err = leaseLost(l)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s lease %s: %w", verb, l.Name, err)
	}
	return nil
}

func leaseLost(l ledger.Lease) error {
	return fault.New(fault.Lost, "lease_lost", "lease %s number %d is no longer held by %s", l.Name, l.Number, l.Holder)
}

// assertLease fences a job's write: nobody may have taken the lease since.
func (x *tx) assertLease(ctx context.Context, l ledger.Lease) error {
	var one int64
	found, err := x.one(ctx, []any{&one}, "SELECT 1 FROM leases WHERE name = ? AND number = ? AND holder = ?"+x.d.forUpdate,
		l.Name, l.Number, l.Holder)
	if err == nil && !found {
		err = leaseLost(l)
	}
	return err
}
