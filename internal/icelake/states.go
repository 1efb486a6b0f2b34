package icelake

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
)

// StatesNamespace is the folder of the tables into which another engine writes states: each is written once,
// read once and dropped. They are in no catalog of the lake's: it only notes that they are claimed.
const StatesNamespace = "_states"

// ClaimStates notes that a table of states will be written, so that what is left of it is found whatever
// happens.
func (l *Lake) ClaimStates(ctx context.Context, name string) error {
	_, err := l.cat.db.ExecContext(ctx, l.cat.bind(`INSERT INTO iceberg_namespace_properties VALUES (?, ?, ?, 'claimed')
		ON CONFLICT DO NOTHING`), CatalogName, StatesNamespace, name)
	if err != nil {
		return l.cat.unavailable("claiming table "+name, err)
	}
	return nil
}

// ClaimedStates lists the tables of states that were claimed and not dropped.
func (l *Lake) ClaimedStates(ctx context.Context) ([]string, error) {
	rows, err := l.cat.db.QueryContext(ctx, l.cat.bind(`SELECT property_key FROM iceberg_namespace_properties
		WHERE catalog_name = ? AND namespace = ? AND property_value = 'claimed' ORDER BY property_key`), CatalogName, StatesNamespace)
	if err != nil {
		return nil, l.cat.unavailable("listing tables of states", err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("listing tables of states: %w", err)
		}
		all = append(all, name)
	}
	return all, rows.Err()
}

// PartitionAs is the name under which RowsAs shows a table's column _partition: Iceberg for Spark takes that
// one for a column of metadata of its own.
const PartitionAs = "_log_partition"

// RowsAs makes a table beside those of states, which is claimed, that shows a snapshot of another one with its
// newest columns, to engines that cannot read that itself; see PartitionAs. It is metadata alone: the same
// files, which Iceberg reads by the columns' numbers. It holds as long as the snapshot is pinned.
func (l *Lake) RowsAs(ctx context.Context, of string, snapshot int64, name string) (metadata string, err error) {
	tbl, err := l.cat.load(ctx, of)
	if err != nil {
		return "", err
	}
	location := l.cat.warehouse + "/" + StatesNamespace + "/" + name
	doc, err := shown(tbl, snapshot, location)
	if err != nil {
		return "", fmt.Errorf("showing table %s as %s: %w", of, name, err)
	}
	at := location + "/metadata/00000-" + uuid.NewString() + ".metadata.json"
	if err := l.files.WriteFile(at, doc); err != nil {
		return "", fmt.Errorf("showing table %s as %s: %w", of, name, err)
	}
	return at, nil
}

// shown is a table's metadata with one snapshot and the column _partition renamed.
func shown(tbl *table.Table, snapshot int64, location string) ([]byte, error) {
	text, err := json.Marshal(tbl.Metadata())
	if err != nil {
		return nil, err
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber() // a snapshot's number is no double
	var doc map[string]any
	if err := in.Decode(&doc); err != nil {
		return nil, err
	}
	var kept []any
	snapshots, _ := doc["snapshots"].([]any)
	for _, x := range snapshots {
		if m, ok := x.(map[string]any); ok && fmt.Sprint(m["snapshot-id"]) == strconv.FormatInt(snapshot, 10) {
			kept = append(kept, x)
		}
	}
	if kept == nil {
		return nil, fault.New(fault.Config, "no_snapshot", "it has no snapshot %d any more", snapshot)
	}
	schemas, _ := doc["schemas"].([]any)
	for _, x := range schemas {
		m, _ := x.(map[string]any)
		fields, _ := m["fields"].([]any)
		for _, f := range fields {
			if field, ok := f.(map[string]any); ok && field["name"] == event.ColumnPartition {
				field["name"] = PartitionAs
			}
		}
	}
	doc["table-uuid"], doc["location"], doc["snapshots"], doc["current-snapshot-id"] = uuid.NewString(), location, kept, snapshot
	doc["refs"] = map[string]any{"main": map[string]any{"snapshot-id": snapshot, "type": "branch"}}
	doc["snapshot-log"], doc["metadata-log"] = []any{}, []any{}
	doc["properties"] = map[string]any{"gc.enabled": "false"} // its files are another table's
	delete(doc, "statistics")
	delete(doc, "partition-statistics")
	return json.Marshal(doc)
}

// States shows the rows of a table of states to fn, as Scan does. Its metadata is at a location.
func (l *Lake) States(ctx context.Context, metadata string, fn func(*lake.Block) error) error {
	tbl, err := table.NewFromLocation(ctx, table.Identifier{StatesNamespace, "states"}, metadata, l.cat.io, nil)
	if err != nil {
		return fmt.Errorf("reading metadata %s: %w", metadata, err)
	}
	if tbl.CurrentSnapshot() == nil {
		return nil
	}
	scan := tbl.Scan(table.WithMaxConcurrency(scanFiles), table.WithArrowBatchSize(stateRows))
	defer scan.Close()
	_, records, err := scan.ToArrowRecords(ctx)
	if err != nil {
		return fmt.Errorf("scanning %s: %w", metadata, err)
	}
	for rec, err := range records {
		if err != nil {
			return fmt.Errorf("scanning %s: %w", metadata, err)
		}
		err = show(rec, tbl.Schema(), nil, fn)
		rec.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// stateRows is a block of states: one has up to 4096 registers.
const stateRows = 2 << 10

// DropStates drops tables of states, or what became of them, files and all. What is not there is no fault.
func (l *Lake) DropStates(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := l.dropStates(ctx, name); err != nil {
			return fmt.Errorf("dropping table %s.%s: %w", StatesNamespace, name, err)
		}
	}
	return nil
}

func (l *Lake) dropStates(ctx context.Context, name string) error {
	at := l.cat.warehouse + "/" + StatesNamespace + "/" + name
	for _, folder := range []string{at + "/data", at + "/metadata", at} {
		files, err := l.files.List(folder)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := l.files.Remove(f); err != nil {
				return err
			}
		}
		if !isS3(folder) { // S3 has no folders
			_ = l.files.Remove(folder) // one that is not empty, for somebody writes to it, stays
		}
	}
	_, err := l.cat.db.ExecContext(ctx, l.cat.bind(`DELETE FROM iceberg_namespace_properties
		WHERE catalog_name = ? AND namespace = ? AND property_key = ?`), CatalogName, StatesNamespace, name)
	if err != nil {
		return l.cat.unavailable("dropping a claim", err)
	}
	return nil
}
