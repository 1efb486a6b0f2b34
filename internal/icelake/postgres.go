package icelake

import (
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pinflow/pinflow/internal/fault"
)

// lockCatalogTables is the advisory lock under which the catalog's tables are made.
const lockCatalogTables = 0x70660003

// IsPostgres tells a postgres:// URL from the name of a file.
func IsPostgres(at string) bool {
	return strings.HasPrefix(at, "postgres://") || strings.HasPrefix(at, "postgresql://")
}

// openPostgres opens the catalog in a PostgreSQL database: the tables that pyiceberg and Spark's JDBC
// catalog use there.
func (c *catalog) openPostgres(dsn string) error {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil { // its text would tell the password
		return fault.New(fault.Config, "bad_catalog", "lake.catalog is not a valid PostgreSQL URL").
			WithAdvice("write it as postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full")
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "pinflow"
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	c.db = sql.OpenDB(stdlib.GetConnector(*cfg))
	c.db.SetMaxOpenConns(8)
	c.db.SetMaxIdleConns(2)
	c.db.SetConnMaxIdleTime(5 * time.Minute)
	c.bind = dollars
	c.lock = fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", lockCatalogTables)
	return nil
}

// dollars turns each ? into $1, $2, …; no query here has a ? in a literal.
func dollars(query string) string {
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// refused returns what PostgreSQL says to a user that it does not let in, "" for any other failure.
func refused(err error) string {
	var state interface{ SQLState() string }
	if !errors.As(err, &state) {
		return ""
	}
	s := state.SQLState()
	if strings.HasPrefix(s, "28") || strings.HasPrefix(s, "3D") || s == "42501" {
		return strings.Join(strings.Fields(err.Error()), " ")
	}
	return ""
}
