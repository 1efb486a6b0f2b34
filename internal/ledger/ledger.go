package ledger

import (
	"context"
	"time"

	"github.com/pinflow/pinflow/internal/apikey"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/span"
)

// Ledger is everything a deployment's database does. Units ask for the part they need.
// Errors carry a fault.Kind: Transient (busy, connection), Stale, Lost, Ambiguous (a commit whose
// outcome is unknown), Corrupt, Config (newer than the binary).
type Ledger interface {
	Catalogue
	Positions
	Writes
	Commits
	Jobs
	Marks
	Reader
	Compaction
	Backfills
	Tasks
	Audits
	Keys
	// Adopt fills a ledger that knows of no stream with what the lake says. It is all or nothing. One that
	// knows some: fault.Config ledger_not_empty.
	Adopt(ctx context.Context, a *Adoption) error
	Close() error
}

// Unit names a reader of the logs.
type Unit string

// The two units.
const (
	Batch Unit = "batch"
	Live  Unit = "live"
)

// Catalogue is what streams, schema versions, logs and views there are. It changes only by Apply,
// AddLog, AcceptReset and FinishImport, under the exclusive catalogue lock; each change raises the epoch of its stream.
type Catalogue interface {
	// Epochs returns the epoch of every stream.
	Epochs(ctx context.Context) (map[string]int64, error)
	// Load returns the whole catalogue, of one snapshot.
	Load(ctx context.Context) (*Snapshot, error)
	// Log finds one log; nil: there is none of that number.
	Log(ctx context.Context, id span.Log) (*Log, error)
	// Apply makes new schema versions and view versions, with cut = max(live, batch position) of every
	// open partition of the stream, and raises the streams' epochs: all changes or none. Epoch conflict:
	// fault.Stale.
	Apply(ctx context.Context, changes ...Change) error
	// AddLog registers an incarnation of a topic, or finds it again by (kind, cluster id, topic id). One that
	// has more partitions than were known gets them: what is read of them later is after every cut.
	AddLog(ctx context.Context, l Log) (span.Log, error)
	// AcceptReset goes on with a log that is not what it was. Nobody who held a partition of it can seal
	// anything more. Epoch conflict: fault.Stale. Nothing to accept: fault.Config nothing_lost.
	AcceptReset(ctx context.Context, r Reset) (*Accepted, error)
	// FinishImport closes the log of an imported file that is wholly in the lake, and gives every version
	// that is not dropped a back-fill of that log alone. Of a closed one it does nothing. One that is void is
	// forgotten instead, its number never comes again; if rows of it were taken: fault.Corrupt. The batch unit
	// is not at its end as this owner: fault.Lost. Some of it is not in the lake yet: fault.Transient. The days
	// do not hold as many rows as were counted, as when they were listed too early: fault.Corrupt.
	FinishImport(ctx context.Context, i Import) error
}

// Snapshot is the catalogue at one moment. It is immutable.
type Snapshot struct {
	Streams []Stream // by name
	Logs    []Log    // by id
	Views   []View   // by name
}

// Stream is a stream with its schema versions, oldest first.
type Stream struct {
	Name    string
	Epoch   int64
	Schemas []SchemaVersion
}

// SchemaVersion is a stream's definition from its cut on. Versions count from 1.
type SchemaVersion struct {
	Version    int32
	Definition event.Stream
	Cut        span.Vector
	CreatedAt  time.Time
}

// Kinds of log.
const (
	KindKafka  = "kafka"
	KindImport = "import"
)

// Log is one incarnation of a topic or one imported file.
type Log struct {
	ID         span.Log
	Kind       string // KindKafka | KindImport
	Stream     string
	Dead       bool   // the stream's dead log
	ClusterID  string // Kafka's cluster id; of an import its stream: a file may be imported into several
	TopicID    string // Kafka's topic id; content hash of an import
	Topic      string // of an import the file's name
	Partitions int32
	Schema     int32 // the stream's newest version when the log was registered: that of all rows of an import
	CreatedAt  time.Time
	ClosedAt   time.Time // zero: open
	Closing    span.Vector
	Kept       bool // closed, and in the lake's table logs
}

// Importing tells whether the log is of a file whose import has not ended.
func (l *Log) Importing() bool { return l.Kind == KindImport && l.ClosedAt.IsZero() }

// View is a metrics view with its versions, oldest first.
type View struct {
	Name     string
	Stream   string
	Metadata []byte // canonical JSON of what the version hash leaves out: names, formats, ratios, keep, deadline
	Versions []ViewVersion
}

// States of a version.
const (
	Building = "building"
	Serving  = "serving"
	Standby  = "standby"
	Dropped  = "dropped"
)

// ViewVersion is one life of a view's definition.
type ViewVersion struct {
	ID         int64
	Hash       string // of Definition
	Definition []byte // canonical JSON of the typed definition
	Metadata   []byte // the view's when it was made, or last changed: what it is folded with
	State      string
	StateAt    time.Time // since when
	Schema     int32     // schema version it was typed under
	Cut        span.Vector
	CreatedAt  time.Time
}

// Change is what Apply does to one stream.
type Change struct {
	Stream string
	Epoch  int64         // the stream's epoch the change was planned on; 0 for a new stream
	Schema *event.Stream // new schema version, or nil
	Views  []ViewChange
}

// ViewChange sets a view's metadata and, with a Definition, makes a new version of it: or, where a
// standby version has this definition and the serving one has not, switches back to that.
type ViewChange struct {
	Name       string
	Metadata   []byte
	Shown      []byte // names that answer until the new version serves; nil: Metadata
	Hash       string
	Definition []byte // nil: metadata only
	State      string // Serving for a view whose history is not wanted, else Building: of a stream without any it serves at once
	Anew       bool   // never switch back: a repair
	Keep       bool   // with Metadata alone: drop the version that is being built, the serving one stays
	Engine     string // of the back-fill of a version that is Building; "": kernel
	Plan       []byte // JSON kept with its back-fill
	Drop       bool
}

// Positions is who reads what, and how far.
type Positions interface {
	// TakeOver makes owner the holder of a partition for a unit and returns its number and position.
	// The first take-over of a partition by either unit inserts both units' positions at start, the
	// log's first offset then (of a dead log only batch's, for live does not read it).
	// An unknown or closed partition: fault.Stale, the caller's catalogue is old.
	TakeOver(ctx context.Context, unit Unit, owner string, key span.Key, start int64) (Held, error)
	// PositionsOf returns the next offset of a unit in every partition of open and closed logs.
	PositionsOf(ctx context.Context, unit Unit) (span.Vector, error)
	// Counts returns the sums booked per partition by a unit.
	Counts(ctx context.Context, unit Unit) (map[span.Key]Counts, error)
	// Progress returns starts, positions, counts and the lake vector, of one snapshot. In each partition
	// and for each unit that reads it: position − start = Counts.Sum().
	Progress(ctx context.Context) (*Progress, error)
}

// Progress is how far both units are, of one snapshot. The live unit does not read dead logs.
type Progress struct {
	Start        span.Vector // the log's first offset at the first take-over
	Live, Batch  span.Vector // next offsets
	Lake         span.Vector // LakeVector
	LiveCounts   map[span.Key]Counts
	BatchCounts  map[span.Key]Counts
	Horizon      span.Vector // ids before it are unknown to both units
	NewestSealed int64       // as Data.NewestSeal
}

// Held is a partition that was taken over.
type Held struct {
	Owner    int64 // raised by each take-over
	Position int64 // next offset to read
	Horizon  int64 // ids before this offset are unknown to both units: the log's start at the first take-over, or what accept-reset set
}

// Counts says what became of a range of offsets: To − From = Rows + Dead + Duplicates + Gaps + Lost.
type Counts struct {
	Rows, Dead, Duplicates, Gaps, Lost int64
}

// Sum is the number of offsets accounted for.
func (c Counts) Sum() int64 { return c.Rows + c.Dead + c.Duplicates + c.Gaps + c.Lost }

// Add returns the elementwise sum.
func (c Counts) Add(o Counts) Counts {
	return Counts{c.Rows + o.Rows, c.Dead + o.Dead, c.Duplicates + o.Duplicates, c.Gaps + o.Gaps, c.Lost + o.Lost}
}

// Kinds of write.
const (
	Flush      = "flush"      // of the live unit: segments
	Stage      = "stage"      // of the batch unit: lake files
	Compacted  = "compaction" // segments for segments
	RolledUp   = "rollup"
	Backfilled = "backfill"
)

// Writes are pieces that become visible together.
type Writes interface {
	// Open begins a write whose pieces come before its seal.
	Open(ctx context.Context, w Write) (int64, error)
	// AddSegments and AddFiles insert pieces of an open write, at most MaxTx bytes a transaction. After
	// fault.Ambiguous the pieces may be there or not: leave the write to the sweeper and open another.
	// A write that is not open any more: Lost.
	AddSegments(ctx context.Context, write int64, segs []Segment) error
	AddFiles(ctx context.Context, write int64, files []LakeFile) error
	// Seal is the one small transaction that makes a flush or stage true: under the shared catalogue
	// lock it asserts the epoch (else Stale), the write is open, and owner and position of every move
	// (else Lost, with the keys: LostKeys); sets positions, adds counts, inserts the last pieces, seals.
	// A write that was swept: Lost, with all its keys. To − From ≠ Counts.Sum(), or in a stage files
	// that do not hold as many records as were counted: Corrupt, and nothing is written.
	// After fault.Ambiguous the caller looks: the seal landed if and only if the unit's position in
	// every partition of its moves is at or beyond To; a take-over tells it, too.
	Seal(ctx context.Context, s Seal) error
	// Sweep cancels writes opened before the moment that are still open, by compare-and-set, deletes
	// their segments and returns their files: now provably never to be committed.
	// It returns them again each time until Forget says that they are deleted. Rows of writes that
	// ended long ago without leaving pieces are dropped, too.
	Sweep(ctx context.Context, lease Lease, before time.Time) ([]LakeFile, error)
	// Forget drops the rows of files that Sweep returned and that are deleted now.
	Forget(ctx context.Context, lease Lease, files []LakeFile) error
}

// MaxTx is the most bytes of pieces that one transaction inserts. A single piece may be larger: a record of
// another producer may be, and one that could never be sealed would stop its unit for ever.
const MaxTx = 4 << 20

// Write names a write to be.
type Write struct {
	Kind   string
	Stream string
	Epoch  int64
	Owner  string
}

// Seal makes a write true.
type Seal struct {
	Write    Write
	ID       int64 // from Open; 0 opens and seals in this transaction
	Unit     Unit
	Moves    []Move
	Segments []Segment // last pieces; together with Files at most MaxTx, or one piece
	Files    []LakeFile
}

// Move says that a unit read a partition from From to To as Owner, and what it found.
type Move struct {
	Key      span.Key
	Owner    int64
	From, To int64
	Counts   Counts
}

// Sources of a segment.
const (
	SourceLive      = "live"
	SourceBackfill  = "backfill"
	SourceCompacted = "compacted"
	SourceRolled    = "rolled"
)

// Segment is a block of states of one view version and tier. Data is Arrow IPC (docs/formats.md).
type Segment struct {
	ID       int64  // set by the ledger
	Version  int64  // view version
	Tier     string // minute | hour | day
	From, To int64  // bucket starts it holds, microseconds: From ≤ b ≤ To
	Rows     int64
	Source   string
	Rolled   bool
	Write    int64
	Bytes    int64 // of Data; set by the ledger
	Data     []byte
}

// LakeFile is a data file of a stage, written and synced before its write is sealed.
type LakeFile struct {
	ID      int64
	Write   int64
	Table   string // stream name, or dead_letters
	Path    string
	Records int64
	Bytes   int64
	Entry   []byte // the data file's manifest entry, as icelake encodes it
}

// Commits is the numbered history of an Iceberg table. Commit n of a table can land at most once; an
// open intent is repeated with the same n and files until the table shows n.
type Commits interface {
	// Intent returns the table's open intent, or opens the next number over sealed, uncommitted files
	// (at most limit, but always whole stages and at least one; oldest stage first, files of a partition
	// in stage order; of a stream's table only stages whose dead letters are committed), or returns nil
	// when there is nothing to commit.
	// kind "append"; for kind compact, expire, schema or skip it opens one without files. For kind close, of
	// table logs, over closed logs that no commit brings yet and of which everything is in the lake (at most
	// limit), or it returns nil: see ClosedLogs.
	Intent(ctx context.Context, lease Lease, table, kind string, limit int) (*Intent, error)
	// CloseIntent books that commit n landed: its files are committed.
	CloseIntent(ctx context.Context, lease Lease, in *Intent, snapshot int64) error
	// LastIntent returns the table's newest intent, nil if there is none.
	LastIntent(ctx context.Context, table string) (*Intent, error)
	// LakeVector returns, per partition, the next offset whose row or dead letter is not yet in a
	// committed file: every offset below is in the lake (or counted).
	LakeVector(ctx context.Context) (span.Vector, error)
	// FilePaths returns where the files of a table are that the ledger knows: staged, sealed, or of its newest commit.
	FilePaths(ctx context.Context, table string) ([]string, error)
	// Memo is what the intent's table is to keep of the ledger, encoded: as of now, and of the lake as it will be
	// when the intent has landed. Whoever repeats the intent may write a later one.
	Memo(ctx context.Context, in *Intent) ([]byte, error)
	// ClosedLogs are the logs that intent n of table logs brings: the same ones whenever it is asked.
	ClosedLogs(ctx context.Context, in *Intent) ([]ClosedLog, error)
	// StageCounts sums the counts of the stages whose files the open intent holds: Rows are the records of
	// its files for a stream's table, Dead for dead_letters.
	StageCounts(ctx context.Context, in *Intent) (Counts, error)
	// Booked returns how many rows a table has by the counts of the batch unit, as long as no intent of it is open:
	// those of sealed stages that are not committed to it are left out. Of table logs: the closed logs that it got.
	Booked(ctx context.Context, table string) (int64, error)
	// BookedOffsets returns the same of a stream's table or of dead_letters by partition, together with the offsets
	// that the batch unit has read.
	BookedOffsets(ctx context.Context, table string) (map[span.Key]BookedOffsets, error)
}

// BookedOffsets are the rows that a table has of a partition, all with offsets in [From, To).
type BookedOffsets struct {
	Rows     int64
	From, To int64
}

// Intent is commit n of a table.
type Intent struct {
	Table    string
	N        int64
	ID       string // commit-id, unique
	Kind     string // append | compact | expire | schema | skip | close
	Open     bool
	Snapshot int64
	Files    []LakeFile
	Offsets  span.Vector // positions the table will have reached: property pinflow.offsets
	Base     int64       // snapshot of the table that the commit is to stand on; 0: any. The ledger does not keep it
	Memo     []byte      // the Memo that the table will keep: property pinflow.ledger; nil: it keeps what it has
}

// Jobs are leases of singleton jobs, by the database's clock.
type Jobs interface {
	// Acquire takes the named lease for ttl, or returns fault.Lost when somebody else holds it. A holder's
	// name belongs to one process, or to whoever has the data folder's lock: it may take its own lease
	// again at once, which ends the earlier one.
	Acquire(ctx context.Context, name, holder string, ttl time.Duration) (Lease, error)
	// Renew prolongs it, also when it ended and nobody took it since; fault.Lost when it is no longer ours.
	Renew(ctx context.Context, l Lease, ttl time.Duration) error
	// Release gives it up.
	Release(ctx context.Context, l Lease) error
}

// Lease is a held lease. Every ledger write of the job asserts its number.
type Lease struct {
	Name   string
	Number int64
	Holder string
}

// Marks note at which time the logs ended where.
type Marks interface {
	// FirstMark returns the first stored mark of a stream at or after the moment, nil if there is none.
	FirstMark(ctx context.Context, stream string, at time.Time) (*Mark, error)
	// AddMark stores a mark and thins marks older than an hour to one a minute, those over 90 days to none.
	AddMark(ctx context.Context, lease Lease, m Mark) error
	// DayCut stores the day's cut, once, and returns the stored one.
	DayCut(ctx context.Context, lease Lease, d Day) (Day, error)
	// Land records the moment when a day became complete, once.
	Land(ctx context.Context, lease Lease, d Day) error
	// Days returns the stored days of a stream, newest first, at most limit.
	Days(ctx context.Context, stream string, limit int) ([]Day, error)
	// CompleteTo returns the time of the newest mark that the unit's positions (of the batch unit: what is
	// in the lake) have reached in every partition; zero when there is none.
	CompleteTo(ctx context.Context, stream string, unit Unit) (time.Time, error)
}

// Mark is a time and the end offsets of a stream's logs, its dead log too, read after that time.
type Mark struct {
	Stream string
	At     time.Time
	End    span.Vector
}

// Day is a calendar day of a stream in a zone.
type Day struct {
	Stream   string
	Zone     string
	Date     string // 2006-01-02
	CutAt    time.Time
	Cut      span.Vector
	LandedAt time.Time // zero: not complete
	Totals   []byte    // JSON, at landing
}

// Reader answers queries from one snapshot of the ledger.
type Reader interface {
	// Read returns the segments of the serving version (of the building one while nothing serves) that
	// overlap [From, To) at the tiers asked, with positions and marks of the same snapshot.
	// fault.Record with code unknown_view if there is none, unknown_version if it has no such version.
	Read(ctx context.Context, q Read) (*Data, error)
	// Status returns figures for people: open writes, uncommitted files, segments by tier, ledger bytes.
	Status(ctx context.Context) (*Status, error)
	// FailedBackfills lists the back-fills that gave up, newest first, as Backfills does: what is asked all the time
	// must not cost more with each that went well.
	FailedBackfills(ctx context.Context) ([]Backfill, error)
}

// Read selects segments of a view.
type Read struct {
	View     string
	Version  string // which of its versions: a state, an id or the beginning of a hash; "": the one that answers
	Tier     string // minute (default) | hour | day: all its segments, and of finer tiers those not rolled
	From, To int64  // microseconds, bucket starts in [From, To)
	Parts    []Part // if given, asked for instead: stretches of a tier each
	// Cached, if given, tells which segments the caller holds already: they come without Data.
	Cached func(id int64) bool
}

// Part asks for a tier's buckets that start in [From, To).
type Part struct {
	Tier     string
	From, To int64
}

// Takes tells whether rows of the segment are part of it: each state is in exactly one of the segments
// that a part takes.
func (p Part) Takes(s *Segment) bool {
	of, asked := TierOf(s.Tier), max(0, TierOf(p.Tier))
	return s.To >= p.From && s.From < p.To && (of == asked || of < asked && !s.Rolled)
}

// Data is what Read found, of one snapshot.
type Data struct {
	View       View
	Version    ViewVersion
	Stream     Stream
	Segments   []Segment
	Positions  span.Vector // live
	Lake       span.Vector
	CompleteTo time.Time // zero: no mark reached yet
	NewestSeal int64     // another number after each sealed write, for ETags
	// Earliest is the bucket start of the oldest segment that the version ever had in any tier, in the finest
	// tier that tells; 0 when it had none.
	Earliest int64
	Filling  *Filling // nil: the version never had a history to fill in
	// Floors are, by tier, the bucket start below which rolled segments were dropped: what the tier holds
	// there is not all there was.
	Floors map[string]int64
	// Importing are files of the stream whose import has not ended: the rows taken are in the lake and count in no
	// version yet.
	Importing []Importing
}

// Importing is an imported file of which some rows are taken.
type Importing struct {
	Log  span.Log
	Name string
	Rows int64 // so far
}

// Status is the ledger at a glance.
type Status struct {
	OpenWrites       int64
	UncommittedFiles int64
	Segments         map[string]int64 // by tier
	SegmentBytes     int64
	Leases           []LeaseInfo
	NewestMarks      map[string]Mark // by stream
}

// LeaseInfo is who holds which lease.
type LeaseInfo struct {
	Name, Holder string
	Number       int64
	Expires      time.Time
}

// Compaction replaces segments by their merge: many small ones by few of the same tier, those of a tier by
// what they are in the next.
type Compaction interface {
	// Segments lists the segments of a version and tier that are rolled up, or those that are not, without
	// their data, oldest first.
	Segments(ctx context.Context, version int64, tier string, rolled bool) ([]Segment, error)
	// SegmentData loads the data of segments by id; fault.Lost when one is gone.
	SegmentData(ctx context.Context, ids []int64) ([]Segment, error)
	// Replace inserts out and deletes (kind compaction) or marks rolled (kind rollup) the inputs in one
	// transaction, asserting that every input is still there, in the rolled state that it was listed in:
	// a roll-up takes segments that are not rolled; a compaction's inputs are all what its outputs are.
	Replace(ctx context.Context, lease Lease, kind string, in []int64, out []Segment) error
	// DropRolled raises the floor of a version's tier to the moment (microseconds), where it stays, and
	// deletes the tier's rolled segments that end before it.
	DropRolled(ctx context.Context, lease Lease, version int64, tier string, before int64) (int64, error)
}

// Keys are the API keys and the sessions of those who logged in with one, as hashes alone.
type Keys interface {
	// Keys returns every key, oldest first, revoked ones too, and every session that has not ended, of
	// one snapshot.
	Keys(ctx context.Context) ([]apikey.Key, []apikey.Session, error)
	// AddKey stores a key and returns it with its time. An id that is there already: fault.Lost.
	AddKey(ctx context.Context, k apikey.Key) (apikey.Key, error)
	// RevokeKey ends a key and its sessions for ever, and returns it. Once more changes nothing. An
	// unknown id: fault.Record, unknown_key.
	RevokeKey(ctx context.Context, id string) (apikey.Key, error)
	// AddSession stores a session and drops those that have ended. A key that is unknown or revoked:
	// fault.Record, unknown_key.
	AddSession(ctx context.Context, s apikey.Session) error
	// EndSession drops a session; one that is gone is no error.
	EndSession(ctx context.Context, id string) error
}
