package icelake

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Table properties of our own.
const (
	propSeq     = "pinflow.commit-seq" // number of the newest commit
	propID      = "pinflow.commit-id"  // its id
	propOffsets = "pinflow.offsets"    // JSON: "log/partition" → next offset that is not in the table
	propLedger  = "pinflow.ledger"     // JSON: ledger.Memo
	// propAccepted is the snapshot of another engine that an adoption took for right, and the newest commit's number then.
	propAccepted = "pinflow.accepted"
)

// manifestBytes is the size up to which manifests are merged. What the newest of them hold is written anew
// every 20 appends and by every merge of files, so commits cost the less the smaller they are; a table of
// 50,000 files has about 60, of which a scan reads those of its days.
const manifestBytes = 256 << 10

// propFormer is a property that tables had once: the memo holds the schemas.
const propFormer = "pinflow.schemas"

// icebergType is the table's type for a kind; next gives field ids to what is nested.
func icebergType(k column.Kind, next func() int) iceberg.Type {
	switch k {
	case column.Long:
		return iceberg.PrimitiveTypes.Int64
	case column.Double:
		return iceberg.PrimitiveTypes.Float64
	case column.Boolean:
		return iceberg.PrimitiveTypes.Bool
	case column.Timestamptz:
		return iceberg.PrimitiveTypes.TimestampTz
	case column.Date:
		return iceberg.PrimitiveTypes.Date
	case column.List:
		return &iceberg.ListType{ElementID: next(), Element: iceberg.PrimitiveTypes.String}
	case column.String, column.JSON, column.Invalid:
	}
	return iceberg.PrimitiveTypes.String
}

// docOf keeps the kind of a column whose Iceberg type does not tell it.
func docOf(k column.Kind) string {
	if k == column.JSON {
		return "json"
	}
	return ""
}

// kindOf is the kind of a table's field, Invalid for one that pinflow does not write.
func kindOf(f iceberg.NestedField) column.Kind {
	switch t := f.Type.(type) {
	case iceberg.Int64Type:
		return column.Long
	case iceberg.Float64Type:
		return column.Double
	case iceberg.BooleanType:
		return column.Boolean
	case iceberg.TimestampTzType:
		return column.Timestamptz
	case iceberg.DateType:
		return column.Date
	case iceberg.StringType:
		if f.Doc == "json" {
			return column.JSON
		}
		return column.String
	case *iceberg.ListType:
		if _, text := t.Element.(iceberg.StringType); text {
			return column.List
		}
	}
	return column.Invalid
}

func schemaOf(t lake.Table) *iceberg.Schema {
	id := 0
	next := func() int { id++; return id }
	fields := make([]iceberg.NestedField, len(t.Columns))
	for i, c := range t.Columns {
		fields[i] = iceberg.NestedField{ID: next(), Name: c.Name, Required: c.Required, Doc: docOf(c.Kind)}
		fields[i].Type = icebergType(c.Kind, next)
	}
	return iceberg.NewSchema(0, fields...)
}

func propertiesOf(t lake.Table) iceberg.Properties {
	p := iceberg.Properties{
		table.PropertyFormatVersion:               "2",
		table.ManifestMergeEnabledKey:             "true",
		table.ManifestMinMergeCountKey:            "20",
		table.ManifestTargetSizeBytesKey:          strconv.Itoa(manifestBytes),
		table.MetadataDeleteAfterCommitEnabledKey: "true",
		table.MetadataPreviousVersionsMaxKey:      "100",
		table.ParquetCompressionKey:               "zstd", // of what other engines write; see writerProperties for ours
		table.ParquetCompressionLevelKey:          strconv.Itoa(zstdLevel),
		table.CommitNumRetriesKey:                 "0",
		propSeq:                                   "0",
	}
	if slices.ContainsFunc(t.Columns, func(c lake.Column) bool { return c.Name == event.ColumnEventID }) {
		p[table.ParquetBloomFilterColumnEnabledKeyPrefix+"."+event.ColumnEventID] = "true"
	}
	return p
}

// EnsureTable makes the table unless it is there. It never changes one: see Missing and Evolve.
func (l *Lake) EnsureTable(ctx context.Context, t lake.Table) error {
	at, err := l.cat.locations(ctx)
	if err != nil {
		return err
	}
	if _, there := at[t.Name]; there {
		return nil
	}
	sc := schemaOf(t)
	day, ok := sc.FindFieldByName(t.Time)
	if !ok {
		return fmt.Errorf("making table %s: no column %s", t.Name, t.Time)
	}
	spec := iceberg.NewPartitionSpec(iceberg.PartitionField{
		SourceIDs: []int{day.ID}, FieldID: 1000, Name: t.Time + "_day", Transform: iceberg.DayTransform{},
	})
	return l.cat.createTable(ctx, t.Name, sc, &spec, propertiesOf(t))
}

// Missing returns the columns that the table does not have yet. A column of another type is
// fault.Config column_type: declared fields never change their type.
func (l *Lake) Missing(ctx context.Context, t lake.Table) ([]lake.Column, error) {
	tbl, err := l.cat.load(ctx, t.Name)
	if err != nil {
		return nil, err
	}
	return missing(tbl.Schema(), t)
}

func missing(sc *iceberg.Schema, t lake.Table) ([]lake.Column, error) {
	var add []lake.Column
	for _, c := range t.Columns {
		f, ok := sc.FindFieldByName(c.Name)
		if !ok {
			add = append(add, c)
			continue
		}
		if have := kindOf(f); have != c.Kind {
			return nil, fault.New(fault.Config, "column_type", "column %s.%s is %s, not %s", t.Name, c.Name, have, c.Kind).
				WithAdvice("declare a new field that reads the same member with from:")
		}
	}
	return add, nil
}

// Evolve is the commit that adds the columns which the table lacks. They are optional, whatever t
// says: rows written before have none.
func (l *Lake) Evolve(ctx context.Context, in *ledger.Intent, t lake.Table) (lake.Landed, error) {
	return l.commit(ctx, in, func(tbl *table.Table, tx *table.Transaction) error {
		add, err := missing(tbl.Schema(), t)
		if err != nil {
			return err
		}
		up := tx.UpdateSchema(true, false)
		for _, c := range add {
			up = up.AddColumn([]string{c.Name}, icebergType(c.Kind, func() int { return 1 }), docOf(c.Kind), false, nil)
		}
		if len(add) == 0 {
			return nil
		}
		return up.Commit()
	})
}
