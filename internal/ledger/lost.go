package ledger

import (
	"errors"
	"fmt"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/span"
)

// DeadLetters is the lake table that holds the dead letters of every stream.
const DeadLetters = "dead_letters"

// Logs is the lake table that holds the closed logs of every stream, one row each.
const Logs = "logs"

// TierOf ranks tiers from fine to coarse: minute 0, hour 1, day 2; −1 for anything else.
func TierOf(tier string) int {
	for i, t := range [...]string{"minute", "hour", "day"} {
		if t == tier {
			return i
		}
	}
	return -1
}

// LostError is inside every fault.Lost of a seal: the partitions that are to be dropped.
type LostError struct {
	Keys []span.Key
	What string
}

func (e *LostError) Error() string { return fmt.Sprintf("%s (partitions %v)", e.What, e.Keys) }

// NewLost makes a fault.Lost over keys.
func NewLost(code string, keys []span.Key, format string, args ...any) error {
	return &fault.Error{Kind: fault.Lost, Code: code, Err: &LostError{Keys: keys, What: fmt.Sprintf(format, args...)}}
}

// LostKeys returns the partitions that a fault.Lost names; nil when err names none.
func LostKeys(err error) []span.Key {
	var e *LostError
	if errors.As(err, &e) {
		return e.Keys
	}
	return nil
}
