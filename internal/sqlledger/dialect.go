package sqlledger

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
)

// dialect is everything in which one database differs from the other.
type dialect struct {
	name string
	// ddl translates the migrations, which are written for SQLite.
	ddl *strings.Replacer
	// rebind translates the placeholders ?.
	rebind func(query string) string
	// lockShared and lockExclusive take the catalogue lock for the transaction; lockMigrations is held
	// while tables change. Empty where BEGIN already excludes every other writer.
	lockShared, lockExclusive, lockMigrations string
	// forUpdate ends a SELECT whose rows must not change before the transaction ends.
	forUpdate string
	// snapshot are the options of a transaction that reads one moment.
	snapshot sql.TxOptions
	// nextSeal is an expression: the next number of a sealed write.
	nextSeal string
	// newestSeal is a query: a number that is another one after each sealed write.
	newestSeal string
	// tables counts the user's tables, whose names are in tableName.
	tables, tableName string
	// afterIDs is a statement that must follow after ids were given by hand; "": none.
	afterIDs string
	// extra is what a migration, by number, does only in this database.
	extra map[int64]string
	// now asks the database's clock, in microseconds.
	now func(ctx context.Context, tx *sql.Tx) (int64, error)
	// classify turns a driver's error into a fault, or returns it unchanged.
	classify func(err error) error
	// unclear tells whether a failed COMMIT may have happened all the same.
	unclear func(err error) bool
}

func keepPlaceholders(query string) string { return query }

// numberPlaceholders turns each ? into $1, $2, …; no query here has a ? in a literal.
func numberPlaceholders(query string) string {
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	for i := range len(query) {
		if query[i] != '?' {
			b.WriteByte(query[i])
			continue
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
}
