package config

import "slices"

// Kinds of files, by the folder they lie in ("" is pinflow.yaml itself).
const (
	SettingsFile = "pinflow"
	StreamFile   = "streams"
	ViewFile     = "metrics"
	DashFile     = "dashboards"
)

// FileKinds are the four kinds of files, in the order in which they are read.
var FileKinds = []string{SettingsFile, StreamFile, ViewFile, DashFile}

const (
	nameRE      = `[a-z][a-z0-9_]{0,62}`
	nameSays    = "a lower-case name: a letter, then letters, digits and _"
	topicRE     = `[a-zA-Z0-9._-]{1,200}`
	fieldRE     = `[a-zA-Z][a-zA-Z0-9_]{0,127}`
	fieldSays   = "letters, digits and _, beginning with a letter"
	topicSays   = "a topic name: letters, digits, dot, _ and -"
	timeRE      = `([01][0-9]|2[0-3]):[0-5][0-9]`
	backfillRE  = `earliest|none|[0-9]{4}-[0-9]{2}-[0-9]{2}`
	humanRE     = `now([+-][0-9]{1,6}[smhdwMy])*(/[mhdwMy])?|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?`
	measureRE   = `[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*`
	hostRE      = `\*|[a-zA-Z0-9._-]{1,253}|[0-9a-fA-F]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*`
	exampleSpan = "like 10m, 24h, 7d, 3650d"
)

var (
	textShape  = &shape{kind: text}
	exprShape  = &shape{kind: expression}
	boolShape  = &shape{kind: boolean}
	nameShape  = &shape{kind: text, pattern: nameRE, says: nameSays}
	spanShape  = &shape{kind: duration, min: bound(1), like: exampleSpan}
	waitShape  = &shape{kind: duration, like: "like 0s, 5s, 1m"}
	hostShape  = &shape{kind: text, pattern: hostRE, says: "a host's name or address without port, or *"}
	sizeShape  = &shape{kind: size, like: "like 64KiB, 10MiB, 2GiB"}
	addrShape  = &shape{kind: address, like: "host:port, like 127.0.0.1:8080 or :8080"}
	zoneShape  = &shape{kind: text, like: "an IANA name, like UTC or Europe/London"}
	versionKey = key{
		name: "version", doc: "Version of the file format.", required: true,
		shape: &shape{kind: integer, min: bound(1), max: bound(1)},
	}
)

// FieldTypes, Aggs, Formats and Grains are the allowed words of the files.
var (
	FieldTypes = []string{"string", "long", "double", "boolean", "timestamptz", "date", "list<string>", "json"}
	Aggs       = []string{"count", "sum", "min", "max", "avg", "count_distinct_approx", "percentile"}
	Formats    = []string{"humanize", "number", "integer", "percent", "currency", "bytes", "duration_ms"}
	Grains     = []string{"minute", "hour", "day"}
	askGrains  = []string{"minute", "hour", "day", "week", "month", "year"}
	charts     = []string{"line", "bar", "number", "table"}
)

func enum(words ...string) *shape { return &shape{kind: word, words: words} }

func obj(keys ...key) *shape { return &shape{kind: object, keys: keys} }

func listOf(s *shape) *shape { return &shape{kind: list, of: s} }

// table is the shape of one kind of file.
func table(fileKind string) *shape {
	switch fileKind {
	case SettingsFile:
		return settingsTable()
	case StreamFile:
		return streamTable()
	case ViewFile:
		return viewTable()
	default:
		return dashTable()
	}
}

func settingsTable() *shape {
	return obj(versionKey,
		key{name: "data", doc: "Folder of everything that pinflow keeps.", shape: textShape, def: "./pinflow-data", path: true},
		key{name: "listen", doc: "Address of the HTTP API and the page.", shape: addrShape, def: "127.0.0.1:8080"},
		key{name: "admin", doc: "Address of this host where profiles of the process are (pprof), like 127.0.0.1:6060; if it is taken the next free port; default: none.", shape: addrShape},
		key{name: "hosts", doc: "Names by which clients reach the API, beside localhost and the address they connect to; *: any.", shape: listOf(hostShape)},
		key{name: "tls", doc: "TLS of the API and the page. The files are read again when they change.", shape: obj(
			key{name: "cert_file", doc: "Certificate chain, PEM.", shape: textShape, path: true},
			key{name: "key_file", doc: "Its private key, PEM.", shape: textShape, path: true},
		)},
		key{name: "keys", doc: "API keys.", shape: obj(
			key{name: "required", doc: "auto: as soon as there is a key, and always where other hosts can reach the API; always; never: only on addresses of this host.", shape: enum("auto", "always", "never"), def: "auto"},
			key{name: "session", doc: "How long a log-in of the page lasts.", shape: spanShape, def: "30d"},
		)},
		key{name: "log", doc: "Where events are kept until both units have them.", shape: logTable()},
		key{name: "lake", doc: "Iceberg tables.", shape: lakeTable()},
		key{name: "ledger", doc: "Database of positions, segments and versions.", shape: obj(
			key{name: "dsn", doc: "SQLite file or postgres:// URL. Default: DATA/ledger.db.", shape: textShape, byFile: true, path: true},
		)},
		key{name: "limits", doc: "What a client may send.", shape: obj(
			key{name: "body", doc: "Largest request body, unpacked.", shape: sizeShape, def: "10MiB"},
			key{name: "event", doc: "Largest event.", shape: sizeShape, def: "1MiB"},
			key{name: "batch", doc: "Most events in a request.", shape: &shape{kind: integer, min: bound(1), max: bound(1_000_000)}, def: "10000"},
			key{name: "in_flight", doc: "Most bytes on their way to the log; beyond it clients get 429.", shape: sizeShape, def: "64MiB"},
			key{name: "connections", doc: "Most open connections to the API, and most requests at the same time.", shape: &shape{kind: integer, min: bound(8), max: bound(1_000_000)}, def: "4096"},
		)},
		key{name: "drain", doc: "How long /readyz says that the process stops before the front door closes, so that a load balancer sends its clients elsewhere.", shape: waitShape, def: "1s"},
		key{name: "backfill", doc: "How history is filled in.", shape: obj(
			key{name: "engine", doc: "kernel: the worker folds itself; spark: it has Apache Spark do it, for lakes that outgrow one machine.", shape: enum("kernel", "spark"), def: "kernel"},
			key{name: "spark", doc: "Apache Spark, where the workers run.", shape: sparkTable()},
			key{name: "workers", doc: "Workers inside `up`; 0: none, `backfill run` does it.", shape: &shape{kind: integer, min: bound(0), max: bound(64)}, def: "1"},
			key{name: "share", doc: "Part of its time that a worker works, so that what is live goes first.", shape: &shape{kind: number, min: bound(0.01), max: bound(1)}, def: "0.5"},
		)},
		key{name: "rollback", doc: "How long the replaced version of a view stays ready.", shape: spanShape, def: "24h"},
	)
}

func sparkTable() *shape {
	return obj(
		key{name: "submit", doc: "Command of spark-submit, or its absolute path.", shape: textShape, def: "spark-submit"},
		key{name: "master", doc: "Where Spark runs: local[N], spark://HOST:PORT, yarn, k8s://URL. The driver runs beside the worker.", shape: &shape{kind: text, pattern: `local|local\[.+\]|spark://.+|yarn|k8s://.+|mesos://.+`, says: "a master URL of Spark, like local[4], spark://HOST:7077 or yarn"}, def: "local[*]"},
		key{name: "packages", doc: "Maven coordinates that Spark fetches, like org.apache.hadoop:hadoop-aws:3.3.4 for a lake in S3.", shape: listOf(&shape{kind: text, pattern: `[^:,\s]+:[^:,\s]+:[^:,\s]+`, says: "GROUP:ARTIFACT:VERSION"})},
		key{name: "jars", doc: "Jars beside Spark's own: absolute paths or URLs.", shape: listOf(&shape{kind: text, pattern: `/.+|[a-z0-9]+:.+`, says: "an absolute path or a URL"})},
		key{name: "conf", doc: "Spark's own configuration: KEY=VALUE, like spark.executor.memory=8g.", shape: listOf(&shape{kind: text, pattern: `spark\.[^=\s]+=.*`, says: "KEY=VALUE of Spark's configuration, like spark.executor.memory=8g"})},
	)
}

func logTable() *shape {
	return obj(
		key{name: "kind", doc: "embedded: the broker inside the process; kafka: an Apache Kafka cluster.", shape: enum("embedded", "kafka"), def: "embedded"},
		key{name: "listen", doc: "Kafka port of the embedded broker; on an address that other hosts reach, log.sasl is asked for.", shape: addrShape, def: "127.0.0.1:9092"},
		key{name: "advertise", doc: "Address of the embedded broker that its clients are told; default: log.listen.", shape: addrShape},
		key{name: "cap", doc: "Most bytes that the embedded log may take.", shape: sizeShape, def: "512MiB"},
		key{name: "brokers", doc: "Seed brokers of a Kafka cluster.", shape: listOf(addrShape)},
		key{name: "group", doc: "Consumer groups of the units are GROUP-live and GROUP-batch; two deployments on one cluster need two.", shape: &shape{kind: text, pattern: topicRE, says: "letters, digits, dot, _ and -"}, def: "pinflow"},
		key{name: "replication_factor", doc: "Copies of the topics that pinflow makes on a Kafka cluster; default: the cluster's.", shape: &shape{kind: integer, min: bound(1), max: bound(32)}},
		key{name: "retention", doc: "How long a Kafka cluster keeps the records of the topics that pinflow makes; default: the cluster's.", shape: spanShape},
		key{name: "sasl", doc: "Log-in at the Kafka cluster; with the embedded broker, what clients of its Kafka port have to know.", shape: obj(
			key{name: "mechanism", doc: "How to log in.", shape: enum("plain", "scram-sha-256", "scram-sha-512")},
			key{name: "username", doc: "Name to log in with.", shape: textShape},
			key{name: "password", doc: "Password, from the environment or a file.", shape: textShape, secret: true, byFile: true},
		)},
		key{name: "tls", doc: "TLS to the Kafka cluster.", shape: obj(
			key{name: "enabled", doc: "Speak TLS.", shape: boolShape},
			key{name: "ca_file", doc: "Certificates to trust; default: the system's.", shape: textShape, path: true},
			key{name: "cert_file", doc: "Certificate of this client.", shape: textShape, path: true},
			key{name: "key_file", doc: "Key of this client's certificate.", shape: textShape, path: true},
		)},
	)
}

func lakeTable() *shape {
	return obj(
		key{name: "warehouse", doc: "Folder or s3://bucket/prefix of the tables. Default: DATA/lake/warehouse.", shape: textShape, path: true},
		key{name: "catalog", doc: "SQLite file or postgres:// URL of the catalog. Default: DATA/lake/catalog.db.", shape: textShape, byFile: true, path: true},
		key{name: "s3", doc: "S3, when the warehouse is there.", shape: obj(
			key{name: "endpoint", doc: "URL of the S3 API; default: AWS.", shape: textShape},
			key{name: "region", doc: "Region of the bucket.", shape: textShape},
			key{name: "path_style", doc: "Bucket in the path, not in the host name.", shape: boolShape},
			key{name: "access_key", doc: "Access key; default: the usual AWS environment.", shape: textShape},
			key{name: "secret_key", doc: "Secret key, from the environment or a file.", shape: textShape, secret: true, byFile: true},
			key{name: "ca_file", doc: "Certificates to trust; default: the system's.", shape: textShape, path: true},
		)},
	)
}

func streamTable() *shape {
	field := obj(
		key{name: "name", doc: "Column.", shape: &shape{kind: text, pattern: fieldRE, says: fieldSays}, required: true},
		key{name: "type", doc: "Iceberg type.", shape: enum(FieldTypes...), required: true},
		key{name: "from", doc: "Member or dotted path it is read from; default: its name.", shape: textShape},
		key{name: "null_if", doc: "Texts that mean NULL.", shape: listOf(exprShape)},
		key{name: "parse", doc: "human_number: 124k, 2M.", shape: enum("human_number")},
		key{name: "strip_prefix", doc: "Removed from the front of the text.", shape: exprShape},
		key{name: "split", doc: "Separator, for list<string>.", shape: exprShape},
		key{name: "trim", doc: "Remove white space at both ends.", shape: boolShape},
		key{name: "lower", doc: "ASCII letters to lower case.", shape: boolShape},
		key{name: "layout", doc: "How a time or date is written, as Go does (2006-01-02 15:04:05), or unix, unix_ms, unix_us.", shape: textShape},
		key{name: "on_error", doc: "What an unreadable value does.", shape: enum("dead_letter", "null"), def: "dead_letter"},
	)
	return obj(versionKey,
		key{name: "name", doc: "Name of the stream and of its table.", shape: nameShape, required: true},
		key{name: "topic", doc: "Topic of the log; default: the name.", shape: &shape{kind: text, pattern: topicRE, says: topicSays}},
		key{name: "partitions", doc: "Partitions of the topic.", shape: &shape{kind: integer, min: bound(1), max: bound(1024)}, def: "2"},
		key{name: "key", doc: "Member whose text is the record's key; default: the event id.", shape: textShape},
		key{name: "event_id", doc: "Member that holds the event id.", shape: textShape, def: "event_id"},
		key{name: "event_time", doc: "Member that holds the event time; absent in the event: the time it was received.", shape: textShape, def: "event_time"},
		key{name: "max_age", doc: "Oldest event time, before received.", shape: spanShape, def: "3650d"},
		key{name: "max_ahead", doc: "Latest event time, after received.", shape: spanShape, def: "10m"},
		key{name: "grace", doc: "How long after a bucket's end events still belong to it as a matter of course.", shape: spanShape, def: "10m"},
		key{name: "dedup", doc: "Window in which an id seen again is a duplicate.", shape: obj(
			key{name: "records", doc: "Offsets back.", shape: &shape{kind: integer, min: bound(1), max: bound(1_000_000)}, def: "50000"},
			key{name: "within", doc: "Time back.", shape: spanShape, def: "1h"},
		)},
		key{name: "fields", doc: "Declared columns; other members are kept in _extra.", shape: listOf(field)},
	)
}

func viewTable() *shape {
	describe := []key{
		{name: "display_name", doc: "Name for people.", shape: textShape},
		{name: "description", doc: "What it means.", shape: textShape},
	}
	dimension := obj(slices.Concat([]key{{name: "name", doc: "Name of the dimension.", shape: nameShape, required: true}}, describe, []key{
		{name: "expr", doc: "Expression; default: the column of that name.", shape: exprShape},
		{name: "unnest", doc: "The expression is a list; the event counts once under each element. One per view.", shape: boolShape},
	})...)
	measure := obj(slices.Concat([]key{{name: "name", doc: "Name of the measure.", shape: nameShape, required: true}}, describe, []key{
		{name: "type", doc: "ratio: one measure by another.", shape: enum("aggregate", "ratio"), def: "aggregate"},
		{name: "agg", doc: "Aggregate.", shape: enum(Aggs...)},
		{name: "expr", doc: "What is aggregated.", shape: exprShape},
		{name: "filter", doc: "Rows it takes, beside the view's filter.", shape: exprShape},
		{name: "percentile", doc: "0 to 1, of agg percentile.", shape: &shape{kind: number, min: bound(0), max: bound(1), percent: true}},
		{name: "numerator", doc: "Measure above the line, of a ratio.", shape: nameShape},
		{name: "denominator", doc: "Measure below the line, of a ratio.", shape: nameShape},
		{name: "format", doc: "How numbers are shown.", shape: enum(Formats...)},
		{name: "unit", doc: "What is counted, for people.", shape: textShape},
	})...)
	rows := listOf(&shape{kind: dict, of: &shape{kind: anything}})
	test := obj(
		key{name: "name", doc: "What it shows.", shape: textShape, required: true},
		key{name: "events", doc: "Events, as they would be sent.", shape: rows, required: true},
		key{name: "expect", doc: "The answer.", required: true, shape: obj(
			key{name: "grain", doc: "Grain of the answer; default: totals.", shape: enum(askGrains...)},
			key{name: "by", doc: "Dimensions of the answer.", shape: listOf(nameShape)},
			key{name: "rows", doc: "time, dimensions and measures by name.", shape: rows, required: true},
		)},
	)
	return obj(slices.Concat([]key{versionKey, {name: "name", doc: "Name of the view; a measure's full name is VIEW.MEASURE.", shape: nameShape, required: true}}, describe, []key{
		{name: "owner", doc: "Who answers for it.", shape: textShape},
		{name: "stream", doc: "Stream it measures.", shape: nameShape, required: true},
		{name: "time", doc: "_event_time, _received_at or a timestamptz field (then grain: day).", shape: textShape, def: "_event_time"},
		{name: "time_zone", doc: "Where days and weeks begin.", shape: zoneShape, def: "UTC"},
		{name: "grain", doc: "Smallest bucket kept.", shape: enum(Grains...), def: "minute"},
		{name: "keep", doc: "How long the buckets of each grain are kept.", shape: &shape{
			kind: dict, names: Grains,
			of: &shape{kind: duration, words: []string{"forever"}, asText: true, like: exampleSpan + ", or forever"},
		}},
		{name: "filter", doc: "Rows that count.", shape: exprShape},
		{name: "dimensions", doc: "What to group and filter by.", shape: listOf(dimension)},
		{name: "measures", doc: "What is measured.", shape: listOf(measure), required: true},
		{name: "late", doc: "Which late records count.", shape: obj(
			key{
				name: "accept", doc: "all, or the most that received - event time may be.", def: "all",
				shape: &shape{kind: duration, words: []string{"all"}, asText: true, like: exampleSpan + ", or all"},
			},
		)},
		{name: "backfill", doc: "Where history begins.", shape: obj(
			key{
				name: "from", doc: "earliest, a date, or none.", def: "earliest",
				shape: &shape{kind: text, pattern: backfillRE, says: "earliest, none or a date like 2026-01-01"},
			},
		)},
		{name: "deadline", doc: "When a day has to be complete.", shape: obj(
			key{name: "by", doc: "Time of day.", shape: &shape{kind: text, pattern: timeRE, says: `a time of day in quotes, like "06:00"`}, required: true},
			key{name: "time_zone", doc: "Default: the view's.", shape: zoneShape},
			key{name: "warn", doc: "How long before it to warn.", shape: &shape{kind: duration, asText: true, like: exampleSpan}},
		)},
		{name: "tests", doc: "Examples, run by `pinflow test`.", shape: listOf(test)},
	})...)
}

func dashTable() *shape {
	at := &shape{kind: text, pattern: humanRE, says: "now, now-7d, now-7d/d, or a date"}
	panel := obj(
		key{name: "measure", doc: "VIEW.MEASURE.", required: true, shape: &shape{kind: text, pattern: measureRE, says: "VIEW.MEASURE, like pins.posted"}},
		key{name: "title", doc: "Default: the measure's name.", shape: textShape},
		key{name: "by", doc: "Dimension to split by.", shape: nameShape},
		key{name: "chart", doc: "How it is drawn.", shape: enum(charts...), def: "line"},
		key{name: "top", doc: "Values of the dimension shown; the rest is other.", shape: &shape{kind: integer, min: bound(1), max: bound(50)}},
		key{name: "compare", doc: "prev: with the previous period.", shape: enum("prev")},
		key{name: "grain", doc: "Size of a point.", shape: enum(askGrains...)},
		key{name: "from", doc: "Begin, over the dashboard's.", shape: at},
		key{name: "to", doc: "End, over the dashboard's.", shape: at},
	)
	return obj(versionKey,
		key{name: "name", doc: "Name in the page's path.", shape: nameShape, required: true},
		key{name: "display_name", doc: "Name for people.", shape: textShape},
		key{name: "description", doc: "What it is for.", shape: textShape},
		key{name: "defaults", doc: "Where a visit begins.", shape: obj(
			key{name: "from", doc: "Begin.", shape: at, def: "now-7d/d"},
			key{name: "to", doc: "End.", shape: at, def: "now"},
			key{name: "grain", doc: "Size of a point.", shape: enum(askGrains...)},
		)},
		key{name: "rows", doc: "Rows of panels.", required: true, shape: listOf(obj(
			key{name: "panels", doc: "Panels, left to right.", required: true, shape: listOf(panel)},
		))},
	)
}
