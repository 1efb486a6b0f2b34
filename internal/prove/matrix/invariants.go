package main

import "github.com/pinflow/pinflow/internal/prove"

// axis is a pair of backends.
type axis [2]prove.Backend

var (
	logs    = axis{prove.EmbeddedLog, prove.Kafka}
	lakes   = axis{prove.Disk, prove.S3}
	ledgers = axis{prove.SQLite, prove.Postgres}
	all     = []axis{logs, lakes, ledgers}
)

// titles of the columns.
var titles = map[prove.Backend]string{
	prove.EmbeddedLog: "embedded log", prove.Kafka: "Apache Kafka", prove.Disk: "disk", prove.S3: "S3",
	prove.SQLite: "SQLite", prove.Postgres: "PostgreSQL",
}

// invariant is a claim about pinflow, on the axes that matter to it; without axes it has one cell.
type invariant struct {
	number string
	text   string
	axes   []axis
	later  string // why this version cannot prove it
}

var invariants = []invariant{
	{"C1", "an event answered accepted or dead_lettered survives kill -9 of every process at any moment", []axis{logs}, ""},
	{"C2", "counts add up to the events sent, in order; what is answered `rejected`, and all of a 400/413/415/422/429, is stored nowhere; an `unknown` sent again within the dedup window counts once", []axis{logs}, ""},
	{"C3", "memory stays under the limit whatever clients send; over it they get 429/413, never a crash", nil, ""},
	{"L1", "every record is exactly once in the lake or the dead letters, or counted as duplicate, gap or (with an alarm) lost, after any crash, rebalance or retry", all, ""},
	{"L2", "a worker that lost its partition (paused, then woken) can commit nothing", []axis{ledgers}, ""},
	{"L3", "an unclear commit outcome neither loses nor repeats a file", []axis{lakes}, ""},
	{"L4", "the lake is lossless", nil, ""},
	{"L5", "commit time and metadata size do not grow with the number of commits or files", []axis{lakes}, ""},
	{"L6", "the tables read the same in independent Iceberg readers", []axis{lakes}, ""},
	{"L7", "ledger and lake that disagree are noticed before anything is written", all, ""},
	{"M1", "live answer = fold of the lake at the same offsets", all, ""},
	{"M2", "any grouping and order of merges gives the same answer", nil, ""},
	{"M3", "kernel = DuckDB = Spark on the emitted SQL, for engine-equal functions", nil, ""},
	{"M4", "a new version's history + live has no gap and no overlap at the cut, under load, rebalance and kill -9", []axis{ledgers}, ""},
	{"M5", "a query never mixes versions or tiers, and flags what is incomplete, revised, missing or approximate", []axis{ledgers}, ""},
	{"D1", "conservation holds per (log, partition)", all, ""},
	{"D2", "a day is never called complete before every event answered before end(D) + grace + wait is in the lake and in live", []axis{logs}, ""},
	{"P1", "`plan`, `lint`, `query`, `audit` write nothing", []axis{ledgers}, ""},
	{"S1", "where keys are required: no key, no data; nothing leaks in logs or errors", nil, ""},
}
