package prove

import (
	"strings"
	"testing"
)

// Backend is what a part of pinflow can stand on: a column of the matrix.
type Backend string

// The backends, two of each axis.
const (
	EmbeddedLog Backend = "embedded-log"
	Kafka       Backend = "kafka"
	Disk        Backend = "disk"
	S3          Backend = "s3"
	SQLite      Backend = "sqlite"
	Postgres    Backend = "postgres"
)

// Attribute is the key of the attribute that a passing test leaves: value "L1 on embedded-log,disk", or
// "L1" for a test that names no backend.
const Attribute = "pinflow.invariant"

// Invariant notes that t, if it passes, is evidence for the invariants (numbers with spaces between
// them, like "L1 M1") on the backends that it really used. A test with stand-ins for a backend does
// not name it.
func Invariant(t testing.TB, numbers string, on ...Backend) {
	t.Helper()
	names := make([]string, len(on))
	for i, b := range on {
		names[i] = string(b)
	}
	where := ""
	if len(on) > 0 {
		where = " on " + strings.Join(names, ",")
	}
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		for _, n := range strings.Fields(numbers) {
			t.Attr(Attribute, n+where)
		}
	})
}
