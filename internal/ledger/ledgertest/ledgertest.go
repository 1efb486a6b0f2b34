package ledgertest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
)

// Open returns a new, empty ledger that is closed when the test ends.
type Open func(t *testing.T) ledger.Ledger

// suite is every test, by a name that begins with the invariants that it is about.
var suite = []struct {
	name string
	run  func(t *testing.T, w *world)
}{
	{"P1_empty_ledger", emptyLedger},
	{"catalogue_schema_versions", schemaVersions},
	{"catalogue_stale_plan", stalePlan},
	{"catalogue_logs", logsAreFoundAgain},
	{"catalogue_recreated_topic", recreatedTopic},
	{"catalogue_more_partitions", morePartitions},
	{"L1_reset_of_a_topic_made_anew", resetAnew},
	{"L1_reset_of_a_shortened_log", resetShortened},
	{"L1_reset_of_dead_letters", resetDead},
	{"L2_reset_fences_who_reads", resetFences},
	{"M4_cut_of_a_new_version", cutOfNewVersion},
	{"M5_states_of_versions", statesOfVersions},
	{"L1_first_take_over", firstTakeOver},
	{"L1_seal_moves_and_counts", sealMovesAndCounts},
	{"D1_seal_refuses_wrong_counts", sealRefusesWrongCounts},
	{"L2_zombie_seals_nothing", zombieSeal},
	{"L2_stale_epoch_seals_nothing", staleEpoch},
	{"L2_position_moved", positionMoved},
	{"M5_unsealed_is_invisible", unsealedIsInvisible},
	{"L2_swept_write_cannot_be_sealed", sweptWrite},
	{"L1_sweep_spares_the_living", sweepSparesLiving},
	{"L1_pieces_have_a_limit", pieceLimit},
	{"L3_intent_is_repeated", intentIsRepeated},
	{"L3_commits_need_the_lease", commitsNeedLease},
	{"L1_dead_letters_first", deadLettersFirst},
	{"L1_stage_order_and_limit", stageOrderAndLimit},
	{"L7_last_intent", lastIntent},
	{"L1_lake_vector", lakeVector},
	{"leases", leases},
	{"S1_keys", keys},
	{"S1_sessions", sessions},
	{"S1_race_of_log_in_and_revocation", raceKeys},
	{"D2_marks_thin_out", marksThin},
	{"D2_marks_follow_a_clock_that_is_put_back", marksGoBack},
	{"D2_complete_to", completeTo},
	{"D2_day_cut_once", dayCutOnce},
	{"M5_read_tiers", readTiers},
	{"M5_rolled_stays_apart", rolledStaysApart},
	{"M5_read_building_and_cached", readBuildingAndCached},
	{"M2_replace_segments", replaceSegments},
	{"M4_no_history_serves_at_once", noHistoryServes},
	{"M4_backfill_switches_when_all_is_done", backfillSwitches},
	{"backfill_tasks_have_an_engine", backfillEngines},
	{"M4_task_leased_twice_counts_once", leasedTwice},
	{"M4_race_for_tasks", raceTasks},
	{"M4_sweep_spares_a_leased_task", sweepSparesTask},
	{"M4_failed_tasks_are_retried", failedTasks},
	{"M4_failed_tasks_wait", waitingTasks},
	{"M4_returned_tasks", returnedTasks},
	{"M4_failed_backfills_are_listed", failedBackfills},
	{"M4_steer_backfills", steerBackfills},
	{"M5_rollback_and_standby", rollbackStandby},
	{"M5_rollback_of_a_version_without_history", rollbackForward},
	{"M4_import_is_history_of_every_version", finishImport},
	{"M4_import_and_a_version_being_built", importWhileBuilding},
	{"L2_import_is_finished_by_its_owner", importByOwner},
	{"L1_import_of_nothing_is_forgotten", importForgotten},
	{"L1_race_to_forget_an_import", raceForget},
	{"audits_are_noted_by_day", audits},
	{"catalogue_apply_is_all_or_nothing", applyAll},
	{"status", status},
	{"P1_reads_write_nothing", readsWriteNothing},
	{"L2_race_of_two_owners", raceOwners},
	{"L2_race_of_sweep_and_seal", raceSweepSeal},
	{"L2_race_of_lease_holders", raceLeases},
	{"L2_race_of_apply_and_seal", raceApplySeal},
}

// Run runs the suite over a ledger on the backend named.
func Run(t *testing.T, open Open, on prove.Backend) {
	for _, s := range suite {
		t.Run(s.name, func(t *testing.T) {
			claim(t, s.name, on)
			s.run(t, newWorld(t, open(t)))
		})
	}
	const adopt = "L7_a_lost_ledger_is_adopted"
	t.Run(adopt, func(t *testing.T) {
		claim(t, adopt, on)
		adoption(t, open)
	})
	const closed = "L7_closed_logs_are_adopted"
	t.Run(closed, func(t *testing.T) {
		claim(t, closed, on)
		closedLogs(t, open)
	})
	const random = "L1_L2_M5_random_interleavings"
	t.Run(random, func(t *testing.T) {
		claim(t, random, on)
		interleavings(t, open)
	})
}

// claim notes the invariants that a test's name begins with. Those that are about more than the ledger
// are proved in part only, so for no backend.
func claim(t *testing.T, name string, on prove.Backend) {
	for _, word := range strings.Split(name, "_") {
		switch word {
		case "L2", "M4", "M5", "P1":
			prove.Invariant(t, word, on)
		case "L1", "L3", "L7", "M2", "D1", "D2", "S1":
			prove.Invariant(t, word)
		default:
			return
		}
	}
}

// tb is what the suite needs of *testing.T and *rapid.T.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// world is a ledger with what most tests need: after setup, stream pin with a log of two partitions,
// a dead log of one, and a serving view.
type world struct {
	tb
	ctx       context.Context //nolint:containedctx // a test's
	l         ledger.Ledger
	log, dead span.Log
	version   int64 // of view pins
	files     int
}

func newWorld(t *testing.T, l ledger.Ledger) *world {
	return &world{tb: t, ctx: t.Context(), l: l}
}

const (
	stream = "pin"
	view   = "pins"
)

func schema(fields ...string) *event.Stream {
	s := &event.Stream{Name: stream, Topic: stream, Partitions: 2, EventID: "event_id"}
	for _, f := range fields {
		s.Fields = append(s.Fields, event.Field{Name: f, Type: "string"})
	}
	return s
}

func kafka(topic, id string, partitions int32, dead bool) ledger.Log {
	return ledger.Log{
		Kind: ledger.KindKafka, Stream: stream, Dead: dead, ClusterID: "c", TopicID: id, Topic: topic, Partitions: partitions,
	}
}

func (w *world) setup() {
	w.Helper()
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Schema: schema("category")}))
	w.log = must(w.l.AddLog(w.ctx, kafka("pin", "t1", 2, false)))(w)
	w.dead = must(w.l.AddLog(w.ctx, kafka("pin.dead", "t2", 1, true)))(w)
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: w.epoch(), Views: []ledger.ViewChange{{
		Name: view, Metadata: []byte(`{"a":1}`), Hash: "h1", Definition: []byte(`{"d":1}`), State: ledger.Serving,
	}}}))
	w.version = w.load().Views[0].Versions[0].ID
}

// must returns the value, or ends the test.
func must[T any](v T, err error) func(*world) T {
	return func(w *world) T {
		w.Helper()
		w.ok(err)
		return v
	}
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("unexpected: %v (%v)", err, fault.KindOf(err))
	}
}

func (w *world) fails(err error, kind fault.Kind, code string) {
	w.Helper()
	if fault.KindOf(err) != kind || fault.CodeOf(err) != code {
		w.Fatalf("got %v (kind %v, code %q), want kind %v, code %q", err, fault.KindOf(err), fault.CodeOf(err), kind, code)
	}
}

func (w *world) same(want, got any) {
	w.Helper()
	if d := cmp.Diff(want, got); d != "" {
		w.Fatalf("(-want +got)\n%s", d)
	}
}

func (w *world) load() *ledger.Snapshot {
	w.Helper()
	return must(w.l.Load(w.ctx))(w)
}

func (w *world) epoch() int64 {
	w.Helper()
	return must(w.l.Epochs(w.ctx))(w)[stream]
}

func (w *world) lease(name string) ledger.Lease {
	w.Helper()
	return must(w.l.Acquire(w.ctx, name, "job", time.Hour))(w)
}

func (w *world) key(p int32) span.Key { return span.Key{Log: w.log, Partition: p} }

func (w *world) take(u ledger.Unit, owner string, k span.Key) ledger.Held {
	w.Helper()
	return must(w.l.TakeOver(w.ctx, u, owner, k, 0))(w)
}

func (w *world) write(kind, owner string) ledger.Write {
	return ledger.Write{Kind: kind, Stream: stream, Epoch: w.epoch(), Owner: owner}
}

// move reads n offsets from where h stands, all rows.
func move(k span.Key, h ledger.Held, n int64) ledger.Move {
	return ledger.Move{Key: k, Owner: h.Owner, From: h.Position, To: h.Position + n, Counts: ledger.Counts{Rows: n}}
}

func (w *world) file(table string, records int64) ledger.LakeFile {
	w.files++
	return ledger.LakeFile{
		Table: table, Path: fmt.Sprintf("%s/%d.parquet", table, w.files), Records: records, Bytes: 100, Entry: []byte{0, byte(w.files)},
	}
}

func segment(version, from, to int64) ledger.Segment {
	return ledger.Segment{
		Version: version, Tier: "minute", From: from, To: to, Rows: 1, Source: ledger.SourceLive, Data: []byte{0, 1, byte(from)},
	}
}

// flush is a sealed live write of n rows with a segment for each bucket.
func (w *world) flush(k span.Key, h *ledger.Held, n int64, buckets ...int64) {
	w.Helper()
	s := ledger.Seal{Write: w.write(ledger.Flush, "a"), Unit: ledger.Live, Moves: []ledger.Move{move(k, *h, n)}}
	for _, b := range buckets {
		s.Segments = append(s.Segments, segment(w.version, b, b))
	}
	w.ok(w.l.Seal(w.ctx, s))
	h.Position += n
}

// stage is a sealed batch write: rows go to a file of the stream's table, dead to one of dead_letters.
func (w *world) stage(k span.Key, h *ledger.Held, rows, dead int64) {
	w.Helper()
	s := ledger.Seal{Write: w.write(ledger.Stage, "b"), Unit: ledger.Batch, Moves: []ledger.Move{{
		Key: k, Owner: h.Owner, From: h.Position, To: h.Position + rows + dead, Counts: ledger.Counts{Rows: rows, Dead: dead},
	}}}
	if rows > 0 {
		s.Files = append(s.Files, w.file(stream, rows))
	}
	if dead > 0 {
		s.Files = append(s.Files, w.file(ledger.DeadLetters, dead))
	}
	w.ok(w.l.Seal(w.ctx, s))
	h.Position += rows + dead
}

func (w *world) read(q ledger.Read) *ledger.Data {
	w.Helper()
	q.View = view
	if q.To == 0 {
		q.To = 1 << 60
	}
	return must(w.l.Read(w.ctx, q))(w)
}

// buckets are the bucket starts of the segments that a query sees.
func (w *world) buckets(tier string) []int64 {
	w.Helper()
	out := []int64{}
	for _, s := range w.read(ledger.Read{Tier: tier}).Segments {
		out = append(out, s.From)
	}
	return out
}

func (w *world) commit(table string) *ledger.Intent {
	w.Helper()
	lease := w.lease("lake:" + table)
	in := must(w.l.Intent(w.ctx, lease, table, "append", 100))(w)
	if in != nil {
		w.ok(w.l.CloseIntent(w.ctx, lease, in, 7))
	}
	return in
}
