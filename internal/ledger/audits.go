package ledger

import (
	"context"
	"time"
)

// What the background audit found of a closed day.
const (
	AuditRight     = "right"
	AuditUncovered = "uncovered" // no difference, but the view does not have all of the day
	AuditDifferent = "different"
	AuditDamaged   = "damaged" // some segment of its answer cannot be read
	AuditFailed    = "failed"  // it could not be compared, and waiting does not help
)

// Audits are what the background audit found: of each day of a version the newest look.
type Audits interface {
	// NoteAudit stores what was found of a day in place of what was found before, with the database's time, and
	// forgets what was found of versions that were dropped.
	NoteAudit(ctx context.Context, lease Lease, a DayAudit) error
	// DayAudits lists the days of a version that were looked at, newest first.
	DayAudits(ctx context.Context, version int64) ([]DayAudit, error)
	// AuditSums sums up what was found of each version that is not dropped, by version.
	AuditSums(ctx context.Context) (map[int64]AuditSum, error)
}

// DayAudit is what was found of a day (of the view's zone) of a version.
type DayAudit struct {
	Version     int64
	Day         string // 2006-01-02
	At          time.Time
	Result      string
	Rows        int64  // of the lake, folded
	Differences int64  // numbers, or segments that cannot be read
	First       string // the first of them, or why it failed
}

// Wrong tells whether somebody has to look at it.
func (a *DayAudit) Wrong() bool { return WrongAudit(a.Result) }

// WrongAudit tells whether a result is one that somebody has to look at.
func WrongAudit(result string) bool { return result != AuditRight && result != AuditUncovered }

// AuditSum is what was found of a version.
type AuditSum struct {
	At          time.Time // of the newest look
	From, To    string    // first and last day that was looked at
	Days        int64
	Uncovered   int64 // days of them
	Rows        int64
	Differences int64
	Wrong       []DayAudit // newest day first, at most MaxWrong
	WrongDays   int64
}

// MaxWrong is how many wrong days an AuditSum lists.
const MaxWrong = 10
