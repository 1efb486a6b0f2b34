package lake

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/span"
)

// Foreign is a snapshot that another engine made.
type Foreign struct {
	Snapshot  int64
	At        time.Time
	Operation string   // of Iceberg: append, delete, overwrite, replace
	Engine    string   // as it calls itself; "": it does not
	Figures   []string // of its summary: how many records and files
}

// Altered is what other engines made of a table since pinflow's newest commit of rows.
type Altered struct {
	Table  string
	Seq    int64     // the number of that commit
	Base   int64     // its snapshot
	Now    int64     // the snapshot that the table is on
	Made   []Foreign // snapshots since, oldest first; none: the table was put back on an older one
	Rows   map[span.Key]int64
	Lacks  []string // data files that are no longer in the table
	Brings []string // those that came instead
	// Changed are the partitions of which it has as many rows as before, but others. Nobody looks for them where all
	// that was made are replacements, which change no rows by Iceberg's definition.
	Changed []span.Key
	Unread  error // why Rows and Changed are not known
}

// replace is Iceberg's operation of a compaction.
const replace = "replace"

// Replaced tells that other engines made nothing but replacements, which are the same rows in other files.
func (a *Altered) Replaced() bool {
	return !slices.ContainsFunc(a.Made, func(f Foreign) bool { return f.Operation != replace })
}

// Same tells that the rows are still those that pinflow wrote.
func (a *Altered) Same() bool {
	for _, n := range a.Rows {
		if n != 0 {
			return false
		}
	}
	return len(a.Changed) == 0 && (a.Unread == nil || a.Replaced())
}

// String says who did what.
func (f Foreign) String() string {
	by := f.Engine
	if by == "" {
		by = "an engine that gives no name"
	}
	text := fmt.Sprintf("snapshot %d (%s by %s, %s", f.Snapshot, f.Operation, by, f.At.Format(time.RFC3339))
	if len(f.Figures) > 0 {
		text += ": " + strings.Join(f.Figures, ", ")
	}
	return text + ")"
}

// named is how many partitions, files or snapshots a message names at most.
const named = 4

// Fault says that the table has not the rows that pinflow wrote and the ledger counted, because of this. fault.Corrupt lake_altered.
func (a *Altered) Fault(rows, booked int64) error {
	who := "the table was put back on its older snapshot " + fmt.Sprint(a.Now)
	if len(a.Made) > 0 {
		made := make([]string, len(a.Made))
		for i, f := range a.Made {
			made[i] = f.String()
		}
		who = list(made)
	}
	has := fmt.Sprintf("has %d rows, the ledger counted %d", rows, booked)
	if rows == booked {
		has = fmt.Sprintf("still has %d rows, but not the same", rows)
	}
	return fault.New(fault.Corrupt, "lake_altered", "another engine changed the rows of table %s after commit %d (snapshot %d): %s. The table %s: %s. Nothing was committed on it",
		a.Table, a.Seq, a.Base, who, has, a.what()).
		WithAdvice("to have the rows back: pinflow lake undo %s (or roll the table back to snapshot %d with that engine), then start again. If they shall stay as they are: stop pinflow, take the ledger away (an empty database, or no file) and: pinflow lake adopt, which counts what is missing as lost",
			a.Table, a.Base).
		WithExit(fault.ExitInvalid)
}

// what says which rows are there no more, and which files.
func (a *Altered) what() string {
	var missing, more []string
	for _, k := range slices.SortedFunc(maps.Keys(a.Rows), span.Key.Compare) {
		switch n := a.Rows[k]; {
		case n < 0:
			missing = append(missing, fmt.Sprintf("%d of partition %s", -n, k))
		case n > 0:
			more = append(more, fmt.Sprintf("%d of partition %s", n, k))
		}
	}
	var parts []string
	if len(missing) > 0 {
		parts = append(parts, "missing are "+list(missing))
	}
	if len(more) > 0 {
		parts = append(parts, "too many are "+list(more))
	}
	if len(a.Changed) > 0 {
		changed := make([]string, len(a.Changed))
		for i, k := range a.Changed {
			changed[i] = k.String()
		}
		parts = append(parts, "changed are rows of partition "+list(changed))
	}
	if a.Unread != nil {
		parts = append(parts, fmt.Sprintf("of which partitions could not be read (%v)", a.Unread))
	}
	if n := len(a.Lacks); n > 0 {
		parts = append(parts, fmt.Sprintf("%d of its data files were taken out, as %s", n, a.Lacks[0]))
	}
	if n := len(a.Brings); n > 0 {
		parts = append(parts, fmt.Sprintf("%d were put in, as %s", n, a.Brings[0]))
	}
	return strings.Join(parts, "; ")
}

func list(all []string) string {
	if n := len(all); n > named {
		all = append(slices.Clone(all[:named]), fmt.Sprintf("%d more", n-named))
	}
	return strings.Join(all, ", ")
}
