package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/span"
)

// Timing of leases: a holder that could not renew stops before the lease ends.
const (
	LeaseTTL    = 15 * time.Second
	leaseRenew  = 5 * time.Second
	leaseMargin = 3 * time.Second // between the last use of a lease and its end
)

// Keeper holds the leases of one process's jobs. It is not safe for concurrent use: a job has its own.
type Keeper struct {
	jobs   Jobs
	holder string
	held   map[string]*keptLease
}

type keptLease struct {
	Lease
	renewed time.Time
}

// NewKeeper returns a keeper for a holder, whose name belongs to one process.
func NewKeeper(jobs Jobs, holder string) *Keeper {
	return &Keeper{jobs: jobs, holder: holder, held: map[string]*keptLease{}}
}

// Hold returns the named lease with some time left, taking or renewing it if need be; false when
// somebody else holds it.
func (k *Keeper) Hold(ctx context.Context, name string) (Lease, bool, error) {
	now := time.Now() // before the database is asked: the lease ends no earlier than we think
	if h := k.held[name]; h != nil {
		age := now.Sub(h.renewed)
		if age < leaseRenew {
			return h.Lease, true, nil
		}
		if age < LeaseTTL-leaseMargin {
			err := k.jobs.Renew(ctx, h.Lease, LeaseTTL)
			if err == nil {
				h.renewed = now
				return h.Lease, true, nil
			}
			if !fault.Is(err, fault.Lost) {
				return Lease{}, false, fmt.Errorf("renewing lease %s: %w", name, err)
			}
		}
		delete(k.held, name)
	}
	lease, err := k.jobs.Acquire(ctx, name, k.holder, LeaseTTL)
	if fault.Is(err, fault.Lost) {
		return Lease{}, false, nil
	}
	if err != nil {
		return Lease{}, false, fmt.Errorf("taking lease %s: %w", name, err)
	}
	k.held[name] = &keptLease{lease, now}
	return lease, true, nil
}

// Forget drops a lease that a write was refused for.
func (k *Keeper) Forget(name string) { delete(k.held, name) }

// Release gives all leases up. What cannot be released runs out by itself.
func (k *Keeper) Release(ctx context.Context) error {
	var errs []error
	for _, h := range k.held {
		errs = append(errs, k.jobs.Release(ctx, h.Lease))
	}
	clear(k.held)
	return errors.Join(errs...)
}

// ImportLease is the lease of whoever brings a file's log in.
func ImportLease(log span.Log) string { return fmt.Sprintf("import:%d", log) }
