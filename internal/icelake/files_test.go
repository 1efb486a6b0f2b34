package icelake

import (
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// Files are those that can hold the selected rows, of the snapshot that is named: with what they hold of logs and
// schemas, the numbers of the columns, and those of which somebody deleted rows told from the others.
func TestFilesOfASnapshot(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	ctx := t.Context()
	first := event.Stream{Name: "pin", Topic: "pin", Fields: []event.Field{{Name: "category", Type: "string"}}}
	put := func(n int64, version int32, s event.Stream, days int64) {
		schema, err := event.CompileAfter(s, version, first)
		if err != nil {
			t.Fatal(err)
		}
		d := schema.NewDecoder(nil)
		for i := range days * 10 {
			if v := d.Append(&event.Record{Key: span.Key{Log: span.Log(n)}, Offset: i, Value: []byte(`{"category":"art"}`), Received: day0 + i%days*usPerDay}); v.Dead() {
				t.Fatal(v.Message)
			}
		}
		if err := l.EnsureTable(ctx, lake.StreamTable(schema)); err != nil {
			t.Fatal(err)
		}
		rows := lake.Block{Columns: lake.Columns(schema), N: d.Rows().N, Cols: d.Rows().Cols}
		if _, err := l.Commit(ctx, intent(n, stage(t, l, rows))); err != nil {
			t.Fatal(err)
		}
	}
	put(1, 1, first, 2)
	grown := first
	grown.Fields = append(slices.Clone(first.Fields), event.Field{Name: "mood", Type: "string"})
	snapshot, err := l.Pin(ctx, "pin", "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.commit(ctx, intent(2, nil), func(tbl *table.Table, tx *table.Transaction) error {
		return tx.UpdateSchema(true, true).AddColumn([]string{"mood"}, iceberg.PrimitiveTypes.String, "", false, nil).Commit()
	}); err != nil {
		t.Fatal(err)
	}
	put(3, 2, grown, 1)
	sel := lake.Selection{Table: "pin", Snapshot: snapshot, Columns: []string{"_partition", "mood", "category"}, From: day0 - day0%usPerDay, To: day0 - day0%usPerDay + usPerDay}
	files, columns, err := l.Files(ctx, sel)
	if err != nil || len(files) != 1 {
		t.Fatalf("%+v %v", files, err)
	}
	if f := files[0]; f.Rows != 10 || !f.Plain || f.Bytes == 0 || f.Logs != (lake.Within{Least: 1, Most: 1}) || f.Schemas != (lake.Within{Least: 1, Most: 1}) {
		t.Errorf("%+v", f)
	}
	if columns[0].ID == 0 || columns[1].ID != 0 || columns[1].Kind != column.String || columns[2].ID == 0 {
		t.Errorf("the snapshot is older than mood: %+v", columns)
	}
	if sel.Snapshot, err = l.Pin(ctx, "pin", "y", 0); err != nil {
		t.Fatal(err)
	}
	if files, columns, err = l.Files(ctx, sel); err != nil || len(files) != 2 || columns[1].ID == 0 {
		t.Fatalf("%+v %+v %v", files, columns, err)
	}
	rows := 0
	sel.Files = []string{files[0].At}
	if _, err := l.Scan(ctx, sel, func(b *lake.Block) error { rows += b.N; return nil }); err != nil || rows != 10 {
		t.Errorf("%d rows of one file of two, %v", rows, err)
	}
	if _, err := l.commit(ctx, intent(4, nil), func(_ *table.Table, tx *table.Transaction) error {
		if err := tx.SetProperties(iceberg.Properties{table.WriteDeleteModeKey: table.WriteModeMergeOnRead}); err != nil {
			return err
		}
		return tx.Delete(ctx, iceberg.NewAnd(iceberg.EqualTo(iceberg.Reference("_log"), int64(3)), iceberg.LessThan(iceberg.Reference("_offset"), int64(5))), nil)
	}); err != nil {
		t.Fatal(err)
	}
	if sel.Snapshot, err = l.Pin(ctx, "pin", "z", 0); err != nil {
		t.Fatal(err)
	}
	if files, _, err = l.Files(ctx, sel); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Logs.Most == 3 && f.Plain {
			t.Errorf("%+v", f)
		}
	}
}

// What another engine leaves is read and removed, with its folders; nothing else can be.
func TestStagedEverywhere(t *testing.T) {
	testbed.Everywhere(t, func(t *testing.T, p testbed.Place) {
		cfg := Config{Warehouse: p.Warehouse, Catalog: p.Catalog, Log: slog.New(slog.DiscardHandler), S3: S3{
			Endpoint: p.S3.Endpoint, Region: p.S3.Region, PathStyle: true, AccessKey: p.S3.AccessKey, SecretKey: p.S3.SecretKey,
		}}
		if _, err := Make(cfg); err != nil {
			t.Fatal(err)
		}
		l, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // only looked at
		for _, name := range []string{"task-1-1/0/part", "task-1-1/1/part", "task-1-10/0/part"} {
			if err := l.files.WriteFile(l.Staged(name), []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.RemoveStaged("task-1-1"); err != nil {
			t.Fatal(err)
		}
		if f, err := l.OpenStaged(l.Staged("task-1-1/1/part")); err == nil {
			t.Errorf("it is still there: %v", f)
		}
		f, err := l.OpenStaged(l.Staged("task-1-10/0/part"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
		if d := cmp.Diff("task-1-10/0/part", string(text)); d != "" || err != nil {
			t.Errorf("%s %v", d, err)
		}
		if c, ok := f.(io.Closer); ok {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := l.files.WriteFile(l.Staged("other.tmp/part"), nil); err != nil {
			t.Fatal(err)
		}
		for at, want := range map[time.Duration][]string{-time.Hour: nil, time.Hour: {"task-1-10"}} {
			if jobs, err := l.Abandoned(t.Context(), time.Now().Add(at)); err != nil || !slices.Equal(jobs, want) {
				t.Errorf("abandoned %s from now: %v, %v, want %v", at, jobs, err, want)
			}
		}
		for _, name := range []string{"", "..", "a/b", "."} {
			if err := l.RemoveStaged(name); err == nil || !strings.Contains(err.Error(), "name of a job") {
				t.Errorf("%q: %v", name, err)
			}
		}
		if _, err := l.OpenStaged(p.Warehouse + "/pin/data/x"); err == nil {
			t.Error("it opens what is no state")
		}
	})
}
