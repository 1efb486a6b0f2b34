package metric

import (
	"fmt"
	"strings"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/expr"
)

// rowsName is the part of the statement whose rows are grouped.
func (w *statement) rowsName() string {
	if w.c.Unnest >= 0 {
		return "elements"
	}
	return "counted"
}

// unnest adds every row once more for each distinct element.
func (w *statement) unnest() string {
	list := w.value(w.c.Dims[w.c.Unnest].Expr)
	each := fmt.Sprintf("unnest(CASE WHEN len(%s) > 0 THEN list_distinct(%s) ELSE [CAST(NULL AS VARCHAR)] END)", list, list)
	null := "CAST(NULL AS VARCHAR)"
	if w.d == expr.Spark {
		each = fmt.Sprintf("explode(CASE WHEN size(%s) > 0 THEN array_distinct(%s) ELSE array(CAST(NULL AS STRING)) END)", list, list)
		null = "CAST(NULL AS STRING)"
	}
	return fmt.Sprintf(", elements AS (\n  SELECT *, true AS whole, %s AS element FROM counted\n  UNION ALL\n  SELECT *, false AS whole, %s AS element FROM counted\n)", null, each)
}

// keys are the columns of a group, and the same as they are computed.
func (w *statement) keys() (names, computed []string) {
	if w.c.Unnest >= 0 {
		names, computed = append(names, "whole"), append(computed, "whole")
	}
	names, computed = append(names, "bucket"), append(computed, "bucket")
	for i, x := range w.c.Dims {
		from := w.value(x.Expr)
		if x.Unnest {
			from = "element"
		}
		name := fmt.Sprintf("d%d", i)
		names, computed = append(names, name), append(computed, from+" AS "+name)
	}
	return names, computed
}

// join groups the rows for the plain states, and once more for each sketch.
func (w *statement) join(judged string) string {
	names, computed := w.keys()
	var b strings.Builder
	b.WriteString(judged)
	plain := append([]string(nil), computed...)
	var chosen, joins []string
	for _, name := range names {
		chosen = append(chosen, "g."+name)
	}
	inputOf := map[int]Input{}
	for _, x := range w.inputs {
		for _, s := range x.States {
			inputOf[s] = x
		}
	}
	for i, s := range w.c.States {
		name := fmt.Sprintf("s%d", i)
		if s.Op != OpDistinct && s.Op != OpQuantile {
			plain = append(plain, w.aggregate(s, inputOf[i])+" AS "+name)
			chosen = append(chosen, "g."+name)
			continue
		}
		part := "sketch" + fmt.Sprint(i)
		b.WriteString(w.sketch(part, s, inputOf[i], names, computed))
		on := make([]string, len(names))
		for k, key := range names {
			on[k] = fmt.Sprintf("g.%s %s %s.%s", key, w.same(), part, key)
		}
		joins = append(joins, fmt.Sprintf("\nLEFT JOIN %s ON %s", part, strings.Join(on, " AND ")))
		chosen = append(chosen, part+".state AS "+name)
	}
	fmt.Fprintf(&b, ", grouped AS (\n  SELECT %s\n  FROM %s\n  GROUP BY %s\n)\n", strings.Join(plain, ",\n    "), w.rowsName(), w.groupBy(computed))
	fmt.Fprintf(&b, "SELECT %s\nFROM grouped g%s\n", strings.Join(chosen, ", "), strings.Join(joins, ""))
	return b.String()
}

// groupBy names what is grouped by as it is computed: an alias might also be a column.
func (w *statement) groupBy(computed []string) string {
	out := make([]string, len(computed))
	for i, x := range computed {
		out[i], _, _ = strings.Cut(x, " AS ")
	}
	return strings.Join(out, ", ")
}

// same compares where NULL is a value.
func (w *statement) same() string {
	if w.d == expr.Spark {
		return "<=>"
	}
	return "IS NOT DISTINCT FROM"
}

func (w *statement) aggregate(s State, x Input) string {
	count := func(condition string) string { return "count(*) FILTER (WHERE " + condition + ")" }
	switch s.Op {
	case OpErrors:
		return w.bigint("sum(errors)")
	case OpLateDropped:
		return count("fate = 2")
	case OpLate:
		return count(fmt.Sprintf("fate = 1 AND r - %d >= %s", w.c.Grace, w.d.End(s.Grain, "t", w.c.Zone)))
	case OpRows:
		return count(w.passes(x))
	default:
	}
	v, filter := w.value(s.Expr), " FILTER (WHERE "+w.passes(x)+")"
	switch s.Op {
	case OpCount:
		return "count(" + v + ")" + filter
	case OpMin:
		return "min(" + v + ")" + filter
	case OpMax:
		return "max(" + v + ")" + filter
	default:
	}
	if s.Kind == column.Double {
		return "coalesce(sum(" + v + ")" + filter + ", 0)"
	}
	if w.d == expr.Spark {
		v = "CAST(" + v + " AS DECIMAL(38, 0))"
	}
	return "coalesce(sum(" + v + ")" + filter + ", 0)"
}

func (w *statement) bigint(x string) string { return "CAST(" + x + " AS BIGINT)" }

// sketch is the part that makes registers or buckets by GROUP BY, and puts those of a group together.
func (w *statement) sketch(part string, s State, x Input, names, computed []string) string {
	keys := strings.Join(names, ", ")
	rows := fmt.Sprintf("SELECT %s, %%s\n    FROM %s WHERE %s AND %s IS NOT NULL",
		strings.Join(computed, ", "), w.rowsName(), w.passes(x), w.value(s.Expr))
	if s.Op == OpDistinct {
		hashed := fmt.Sprintf(rows, w.hash(w.value(s.Expr), s.Kind)+" AS hash")
		return fmt.Sprintf(`, %s AS ( -- HyperLogLog: the greatest rank of each register
  SELECT %s, %s AS state FROM (
    SELECT %s, register, max(rank) AS rank FROM (
      SELECT %s, %s AS register, %s AS rank FROM (
    %s)) GROUP BY %s, register)
  GROUP BY %s
)`, part, keys, w.list("register * 64 + rank"), keys, keys, w.register(), w.rank(), hashed, keys, keys)
	}
	v := w.value(s.Expr)
	if s.Kind == column.Long {
		v = "CAST(" + v + " AS DOUBLE)"
	}
	return fmt.Sprintf(`, %s AS ( -- log-linear buckets: sign, exponent, 64th part
  SELECT %s, %s AS state FROM (
    SELECT %s, bin, count(*) AS n FROM (
      SELECT %s, %s AS bin FROM (
        SELECT *, e - CASE WHEN abs(v) < power(CAST(2 AS DOUBLE), e) THEN 1 ELSE 0 END
          + CASE WHEN abs(v) >= power(CAST(2 AS DOUBLE), e + 1) THEN 1 ELSE 0 END AS exponent FROM (
          SELECT *, CASE WHEN v = 0 THEN 0 ELSE CAST(floor(log2(abs(v))) AS BIGINT) END AS e FROM (
    %s)))) GROUP BY %s, bin)
  GROUP BY %s
)`, part, keys, w.list(w.pair()), keys, keys, bin, fmt.Sprintf(rows, v+" AS v"), keys, keys)
}

// bin is sketch.Bucket.
const bin = `CASE WHEN v = 0 THEN 0 ELSE CASE WHEN v < 0 THEN -1 ELSE 1 END *
        ((exponent + 1075) * 64 + CAST(floor((abs(v) / power(CAST(2 AS DOUBLE), exponent) - 1) * 64) AS BIGINT) + 1) END`

func (w *statement) list(x string) string {
	if w.d == expr.Spark {
		return "collect_list(" + x + ")"
	}
	return "list(" + x + ")"
}

func (w *statement) pair() string {
	if w.d == expr.Spark {
		return "named_struct('bin', CAST(bin AS BIGINT), 'n', n)"
	}
	return "{'bin': CAST(bin AS BIGINT), 'n': n}"
}

// hash is Spark's xxhash64; for DuckDB a function of that name has to be registered, of varchar,
// bigint and double, that returns ubigint.
func (w *statement) hash(v string, kind column.Kind) string {
	if kind == column.Boolean {
		v = w.bigint(v)
	}
	return "xxhash64(" + v + ")"
}

func (w *statement) register() string {
	if w.d == expr.Spark {
		return "shiftrightunsigned(hash, 52)"
	}
	return "CAST(hash >> 52 AS BIGINT)"
}

func (w *statement) rank() string {
	low := "(hash & 4503599627370495)"
	return fmt.Sprintf("CASE WHEN %s = 0 THEN 53 ELSE 53 - length(bin(%s)) END", low, low)
}
