package expr

import "github.com/pinflow/pinflow/internal/column"

// function is a row of the table of functions: what it is called, what it takes and gives, exactly
// what it does, and how it is run over columns. NULL in is NULL out unless lazy is set.
type function struct {
	name       string
	params     []column.Kind
	variadic   bool // the last parameter repeats
	result     column.Kind
	semantics  string
	kernelOnly bool                               // no other engine gives the same answer
	fails      bool                               // a row may make it NULL although no operand is: that is a failure
	sql        forms                              // in other engines, {0} and {1} being the operands
	form       formOf                             // the same, where no text can say it
	run        func(s *step, c strictCall, n int) // strict: fills s.out of n rows from the operands
	lazy       func(s *step, b *batch, active []bool) operand
}

// strictCall is what a strict function gets beside its step: operands and who may fail.
type strictCall struct {
	args   []operand
	active []bool
	batch  *batch
}

const (
	long    = column.Long
	double  = column.Double
	boolean = column.Boolean
	instant = column.Timestamptz
	date    = column.Date
	text    = column.String
	json    = column.JSON
	list    = column.List
	anyKind = column.Kind(255)
)

type kinds = []column.Kind

// functions is the table. Aggregates, literals, columns and members are not in it.
var functions = []function{
	{name: "+", params: kinds{long, long}, result: long, semantics: "fails on overflow of 64 bits", run: addLongs, sql: forms{"TRY({0} + {1})", "try_add({0}, {1})"}, fails: true},
	{name: "-", params: kinds{long, long}, result: long, semantics: "fails on overflow of 64 bits", run: subLongs, sql: forms{"TRY({0} - {1})", "try_subtract({0}, {1})"}, fails: true},
	{name: "*", params: kinds{long, long}, result: long, semantics: "fails on overflow of 64 bits", run: mulLongs, sql: forms{"TRY({0} * {1})", "try_multiply({0}, {1})"}, fails: true},
	{name: "+", params: kinds{double, double}, result: double, semantics: "IEEE 754", run: addDoubles, sql: same("({0} + {1})")},
	{name: "-", params: kinds{double, double}, result: double, semantics: "IEEE 754", run: subDoubles, sql: same("({0} - {1})")},
	{name: "*", params: kinds{double, double}, result: double, semantics: "IEEE 754", run: mulDoubles, sql: same("({0} * {1})")},
	{name: "/", params: kinds{double, double}, result: double, semantics: "IEEE 754; NULL for a zero divisor", run: divide, sql: same("({0} / nullif({1}, 0))")},
	{name: "-", params: kinds{long}, result: long, semantics: "fails on overflow of 64 bits", run: negateLong, sql: forms{"TRY(-{0})", "try_subtract(0L, {0})"}, fails: true},
	{name: "-", params: kinds{double}, result: double, semantics: "IEEE 754", run: negateDouble, sql: same("(-{0})")},

	{name: "=", params: kinds{long, long}, result: boolean, semantics: "equal", run: equalInts, sql: same("({0} = {1})")},
	{name: "=", params: kinds{double, double}, result: boolean, semantics: "equal; NULL if either is NaN or infinite", run: equalDoubles, sql: forms{"CASE WHEN isfinite({0}) AND isfinite({1}) THEN {0} = {1} END", "CASE WHEN abs({0}) < CAST('Infinity' AS DOUBLE) AND abs({1}) < CAST('Infinity' AS DOUBLE) THEN {0} = {1} END"}},
	{name: "=", params: kinds{boolean, boolean}, result: boolean, semantics: "equal", run: equalInts, sql: same("({0} = {1})")},
	{name: "=", params: kinds{instant, instant}, result: boolean, semantics: "the same instant", run: equalInts, sql: same("({0} = {1})")},
	{name: "=", params: kinds{date, date}, result: boolean, semantics: "equal", run: equalInts, sql: same("({0} = {1})")},
	{name: "=", params: kinds{text, text}, result: boolean, semantics: "equal bytes", run: equalTexts, sql: same("({0} = {1})")},
	{name: "<>", params: kinds{long, long}, result: boolean, semantics: "not equal", run: differInts, sql: same("({0} <> {1})")},
	{name: "<>", params: kinds{double, double}, result: boolean, semantics: "not equal; NULL if either is NaN or infinite", run: differDoubles, sql: forms{"CASE WHEN isfinite({0}) AND isfinite({1}) THEN {0} <> {1} END", "CASE WHEN abs({0}) < CAST('Infinity' AS DOUBLE) AND abs({1}) < CAST('Infinity' AS DOUBLE) THEN {0} <> {1} END"}},
	{name: "<>", params: kinds{boolean, boolean}, result: boolean, semantics: "not equal", run: differInts, sql: same("({0} <> {1})")},
	{name: "<>", params: kinds{instant, instant}, result: boolean, semantics: "not the same instant", run: differInts, sql: same("({0} <> {1})")},
	{name: "<>", params: kinds{date, date}, result: boolean, semantics: "not equal", run: differInts, sql: same("({0} <> {1})")},
	{name: "<>", params: kinds{text, text}, result: boolean, semantics: "other bytes", run: differTexts, sql: same("({0} <> {1})")},
	{name: "<", params: kinds{long, long}, result: boolean, semantics: "less", run: lessInts, sql: same("({0} < {1})")},
	{name: "<", params: kinds{double, double}, result: boolean, semantics: "less; NULL if either is NaN or infinite", run: lessDoubles, sql: forms{"CASE WHEN isfinite({0}) AND isfinite({1}) THEN {0} < {1} END", "CASE WHEN abs({0}) < CAST('Infinity' AS DOUBLE) AND abs({1}) < CAST('Infinity' AS DOUBLE) THEN {0} < {1} END"}},
	{name: "<", params: kinds{instant, instant}, result: boolean, semantics: "earlier", run: lessInts, sql: same("({0} < {1})")},
	{name: "<", params: kinds{date, date}, result: boolean, semantics: "earlier", run: lessInts, sql: same("({0} < {1})")},
	{name: "<", params: kinds{text, text}, result: boolean, semantics: "less by bytes", run: lessTexts, sql: same("({0} < {1})")},
	{name: "<=", params: kinds{long, long}, result: boolean, semantics: "at most", run: atMostInts, sql: same("({0} <= {1})")},
	{name: "<=", params: kinds{double, double}, result: boolean, semantics: "at most; NULL if either is NaN or infinite", run: atMostDoubles, sql: forms{"CASE WHEN isfinite({0}) AND isfinite({1}) THEN {0} <= {1} END", "CASE WHEN abs({0}) < CAST('Infinity' AS DOUBLE) AND abs({1}) < CAST('Infinity' AS DOUBLE) THEN {0} <= {1} END"}},
	{name: "<=", params: kinds{instant, instant}, result: boolean, semantics: "not later", run: atMostInts, sql: same("({0} <= {1})")},
	{name: "<=", params: kinds{date, date}, result: boolean, semantics: "not later", run: atMostInts, sql: same("({0} <= {1})")},
	{name: "<=", params: kinds{text, text}, result: boolean, semantics: "at most, by bytes", run: atMostTexts, sql: same("({0} <= {1})")},

	{name: "and", params: kinds{boolean, boolean}, result: boolean, semantics: "three-valued; where the left is false the right is not evaluated", lazy: evalAnd, sql: same("({0} AND {1})")},
	{name: "or", params: kinds{boolean, boolean}, result: boolean, semantics: "three-valued; where the left is true the right is not evaluated", lazy: evalOr, sql: same("({0} OR {1})")},
	{name: "not", params: kinds{boolean}, result: boolean, semantics: "three-valued", run: notBool, sql: same("(NOT {0})")},
	{name: "is null", params: kinds{anyKind}, result: boolean, semantics: "never NULL; a missing member and JSON null are NULL", lazy: evalIsNull, sql: same("({0} IS NULL)")},
	{name: "is true", params: kinds{boolean}, result: boolean, semantics: "never NULL", lazy: evalIsTrue, sql: same("({0} IS TRUE)")},
	{name: "is false", params: kinds{boolean}, result: boolean, semantics: "never NULL", lazy: evalIsFalse, sql: same("({0} IS FALSE)")},
	{name: "in", params: kinds{anyKind, anyKind}, variadic: true, result: boolean, semantics: "equal to one of the literals; NULL if not and one of them is NULL", run: inSet, form: inForm},
	{name: "like", params: kinds{text, text}, result: boolean, semantics: "% any text, _ one character; the pattern is a literal without backslash", run: likePattern, sql: same("({0} LIKE {1})")},
	{name: "case", params: kinds{anyKind}, variadic: true, result: anyKind, semantics: "the value of the first condition that is true; others are not evaluated", lazy: evalCase, form: caseForm},
	{name: "coalesce", params: kinds{anyKind}, variadic: true, result: anyKind, semantics: "the first that is not NULL; later ones are not evaluated", lazy: evalCoalesce, form: coalesceForm},

	{name: "trim", params: kinds{text}, result: text, semantics: "without spaces (U+0020) at both ends", run: trimText, sql: forms{"trim({0}, ' ')", "trim(BOTH ' ' FROM {0})"}},
	{name: "lower", params: kinds{text}, result: text, semantics: "A-Z to a-z, nothing else", run: lowerText, sql: same("translate({0}, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')")},
	{name: "upper", params: kinds{text}, result: text, semantics: "a-z to A-Z, nothing else", run: upperText, sql: same("translate({0}, 'abcdefghijklmnopqrstuvwxyz', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ')")},
	{name: "length", params: kinds{text}, result: long, semantics: "number of code points", run: lengthText, sql: forms{"length({0})", "CAST(length({0}) AS BIGINT)"}},
	{name: "starts_with", params: kinds{text, text}, result: boolean, semantics: "begins with these bytes", run: startsWith, sql: forms{"starts_with({0}, {1})", "startswith({0}, {1})"}},
	{name: "contains", params: kinds{text, text}, result: boolean, semantics: "has these bytes in it", run: containsText, sql: same("contains({0}, {1})")},
	{name: "contains", params: kinds{list, text}, result: boolean, semantics: "has this element", run: containsElement, sql: forms{"CASE WHEN {1} IS NOT NULL THEN list_contains({0}, {1}) END", "array_contains({0}, {1})"}},
	{name: "cardinality", params: kinds{list}, result: long, semantics: "number of elements", run: cardinality, sql: forms{"len({0})", "CASE WHEN {0} IS NOT NULL THEN CAST(size({0}) AS BIGINT) END"}},

	{name: "date_trunc", params: kinds{text, instant}, result: instant, semantics: "start of the minute, hour, day, week (Monday), month or year in the view's zone; the unit is a literal", run: truncInstant, form: truncForm, fails: true},
	{name: "date_trunc", params: kinds{text, date}, result: date, semantics: "first day of the week (Monday), month or year; the unit is a literal", run: truncDate, form: truncForm, fails: true},
	{name: "extract", params: kinds{text, instant}, result: long, semantics: "year, month, day or hour in the view's zone", run: extractInstant, form: extractForm, fails: true},
	{name: "extract", params: kinds{text, date}, result: long, semantics: "year, month or day", run: extractDate, form: extractForm, fails: true},

	{name: "cast", params: kinds{long}, result: double, semantics: "nearest double", run: longToDouble, sql: same("CAST({0} AS DOUBLE)")},
	{name: "cast", params: kinds{long}, result: text, semantics: "decimal", run: longToText, sql: forms{"CAST({0} AS VARCHAR)", "CAST({0} AS STRING)"}},
	{name: "cast", params: kinds{double}, result: long, semantics: "towards zero; fails outside 64 bits and on NaN", run: doubleToLong, sql: forms{"CASE WHEN {0} >= CAST('-9223372036854775808' AS DOUBLE) AND {0} < CAST('9223372036854775808' AS DOUBLE) THEN TRY_CAST(trunc({0}) AS BIGINT) END", "CASE WHEN {0} >= CAST('-9223372036854775808' AS DOUBLE) AND {0} < CAST('9223372036854775808' AS DOUBLE) THEN CAST({0} AS BIGINT) END"}, fails: true},
	{name: "cast", params: kinds{double}, result: text, semantics: "shortest decimal that reads back as the same double", kernelOnly: true, run: doubleToText},
	{name: "cast", params: kinds{boolean}, result: long, semantics: "0 or 1", run: boolToLong, sql: same("CAST({0} AS BIGINT)")},
	{name: "cast", params: kinds{boolean}, result: text, semantics: "false or true", run: boolToText, sql: forms{"CAST({0} AS VARCHAR)", "CAST({0} AS STRING)"}},
	{name: "cast", params: kinds{instant}, result: date, semantics: "date in the view's zone", run: instantToDate, form: instantDateForm, fails: true},
	{name: "cast", params: kinds{instant}, result: text, semantics: "RFC 3339 in UTC, without trailing zeros of the fraction", kernelOnly: true, run: instantToText},
	{name: "cast", params: kinds{date}, result: instant, semantics: "begin of the day in the view's zone", run: dateToInstant, form: midnightForm, fails: true},
	{name: "cast", params: kinds{date}, result: text, semantics: "2006-01-02", run: dateToText, sql: forms{"CASE WHEN {0} BETWEEN -719162 AND 2932896 THEN CAST(DATE '1970-01-01' + TRY_CAST({0} AS INTEGER) AS VARCHAR) END", "CASE WHEN {0} BETWEEN -719162 AND 2932896 THEN CAST(date_from_unix_date(CAST({0} AS INT)) AS STRING) END"}, fails: true},
	{name: "cast", params: kinds{text}, result: long, semantics: "decimal integer, spaces around allowed; else fails", run: textToLong, sql: forms{"CASE WHEN regexp_full_match(trim({0}, ' '), '[+-]?[0-9]+') THEN TRY_CAST(trim({0}, ' ') AS BIGINT) END", `CASE WHEN trim(BOTH ' ' FROM {0}) RLIKE '\\A([+-]?[0-9]+)\\z' THEN try_cast(trim(BOTH ' ' FROM {0}) AS BIGINT) END`}, fails: true},
	{name: "cast", params: kinds{text}, result: double, semantics: "decimal number with optional exponent, spaces around allowed; else fails", run: textToDouble, sql: forms{"CASE WHEN regexp_full_match(trim({0}, ' '), '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?') AND isfinite(TRY_CAST(trim({0}, ' ') AS DOUBLE)) THEN TRY_CAST(trim({0}, ' ') AS DOUBLE) END", `CASE WHEN trim(BOTH ' ' FROM {0}) RLIKE '\\A([+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?)\\z' AND abs(try_cast(trim(BOTH ' ' FROM {0}) AS DOUBLE)) < CAST('Infinity' AS DOUBLE) THEN try_cast(trim(BOTH ' ' FROM {0}) AS DOUBLE) END`}, fails: true},
	{name: "cast", params: kinds{text}, result: boolean, semantics: "true or false in any case; else fails", run: textToBool, sql: forms{"CASE lower(trim({0}, ' ')) WHEN 'true' THEN true WHEN 'false' THEN false END", "CASE lower(trim(BOTH ' ' FROM {0})) WHEN 'true' THEN true WHEN 'false' THEN false END"}, fails: true},
	{name: "cast", params: kinds{text}, result: instant, semantics: "ISO 8601, in the view's zone where it names none; else fails", kernelOnly: true, run: textToInstant},
	{name: "cast", params: kinds{text}, result: date, semantics: "2006-01-02; else fails", run: textToDate, sql: forms{"CASE WHEN regexp_full_match(trim({0}, ' '), '[0-9]{4}-[0-9]{2}-[0-9]{2}') AND TRY_CAST(trim({0}, ' ') AS DATE) >= DATE '0001-01-01' THEN TRY_CAST(trim({0}, ' ') AS DATE) - DATE '1970-01-01' END", `CASE WHEN trim(BOTH ' ' FROM {0}) RLIKE '\\A([0-9]{4}-[0-9]{2}-[0-9]{2})\\z' AND try_cast(trim(BOTH ' ' FROM {0}) AS DATE) >= DATE '0001-01-01' THEN CAST(unix_date(try_cast(trim(BOTH ' ' FROM {0}) AS DATE)) AS BIGINT) END`}, fails: true},
	{name: "cast", params: kinds{json}, result: text, semantics: "the text of a JSON string; other values as written", kernelOnly: true, run: jsonToText},
	{name: "cast", params: kinds{json}, result: long, semantics: "as cast of its text; a number with a fraction of 0 is an integer", kernelOnly: true, run: jsonToLong},
	{name: "cast", params: kinds{json}, result: double, semantics: "as cast of its text", kernelOnly: true, run: jsonToDouble},
	{name: "cast", params: kinds{json}, result: boolean, semantics: "as cast of its text", kernelOnly: true, run: jsonToBool},
	{name: "cast", params: kinds{json}, result: instant, semantics: "as cast of its text", kernelOnly: true, run: jsonToInstant},
	{name: "cast", params: kinds{json}, result: date, semantics: "as cast of its text", kernelOnly: true, run: jsonToDate},
}
