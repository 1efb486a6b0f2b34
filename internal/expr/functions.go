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
	{name: "+", params: kinds{long, long}, result: long, semantics: "fails on overflow of 64 bits", run: addLongs},
	{name: "-", params: kinds{long, long}, result: long, semantics: "fails on overflow of 64 bits", run: subLongs},
	{name: "*", params: kinds{long, long}, result: long, semantics: "fails on overflow of 64 bits", run: mulLongs},
	{name: "+", params: kinds{double, double}, result: double, semantics: "IEEE 754", run: addDoubles},
	{name: "-", params: kinds{double, double}, result: double, semantics: "IEEE 754", run: subDoubles},
	{name: "*", params: kinds{double, double}, result: double, semantics: "IEEE 754", run: mulDoubles},
	{name: "/", params: kinds{double, double}, result: double, semantics: "IEEE 754; NULL for a zero divisor", run: divide},
	{name: "-", params: kinds{long}, result: long, semantics: "fails on overflow of 64 bits", run: negateLong},
	{name: "-", params: kinds{double}, result: double, semantics: "IEEE 754", run: negateDouble},

	{name: "=", params: kinds{long, long}, result: boolean, semantics: "equal", run: equalInts},
	{name: "=", params: kinds{double, double}, result: boolean, semantics: "equal; NULL if either is NaN or infinite", run: equalDoubles},
	{name: "=", params: kinds{boolean, boolean}, result: boolean, semantics: "equal", run: equalInts},
	{name: "=", params: kinds{instant, instant}, result: boolean, semantics: "the same instant", run: equalInts},
	{name: "=", params: kinds{date, date}, result: boolean, semantics: "equal", run: equalInts},
	{name: "=", params: kinds{text, text}, result: boolean, semantics: "equal bytes", run: equalTexts},
	{name: "<>", params: kinds{long, long}, result: boolean, semantics: "not equal", run: differInts},
	{name: "<>", params: kinds{double, double}, result: boolean, semantics: "not equal; NULL if either is NaN or infinite", run: differDoubles},
	{name: "<>", params: kinds{boolean, boolean}, result: boolean, semantics: "not equal", run: differInts},
	{name: "<>", params: kinds{instant, instant}, result: boolean, semantics: "not the same instant", run: differInts},
	{name: "<>", params: kinds{date, date}, result: boolean, semantics: "not equal", run: differInts},
	{name: "<>", params: kinds{text, text}, result: boolean, semantics: "other bytes", run: differTexts},
	{name: "<", params: kinds{long, long}, result: boolean, semantics: "less", run: lessInts},
	{name: "<", params: kinds{double, double}, result: boolean, semantics: "less; NULL if either is NaN or infinite", run: lessDoubles},
	{name: "<", params: kinds{instant, instant}, result: boolean, semantics: "earlier", run: lessInts},
	{name: "<", params: kinds{date, date}, result: boolean, semantics: "earlier", run: lessInts},
	{name: "<", params: kinds{text, text}, result: boolean, semantics: "less by bytes", run: lessTexts},
	{name: "<=", params: kinds{long, long}, result: boolean, semantics: "at most", run: atMostInts},
	{name: "<=", params: kinds{double, double}, result: boolean, semantics: "at most; NULL if either is NaN or infinite", run: atMostDoubles},
	{name: "<=", params: kinds{instant, instant}, result: boolean, semantics: "not later", run: atMostInts},
	{name: "<=", params: kinds{date, date}, result: boolean, semantics: "not later", run: atMostInts},
	{name: "<=", params: kinds{text, text}, result: boolean, semantics: "at most, by bytes", run: atMostTexts},

	{name: "and", params: kinds{boolean, boolean}, result: boolean, semantics: "three-valued; where the left is false the right is not evaluated", lazy: evalAnd},
	{name: "or", params: kinds{boolean, boolean}, result: boolean, semantics: "three-valued; where the left is true the right is not evaluated", lazy: evalOr},
	{name: "not", params: kinds{boolean}, result: boolean, semantics: "three-valued", run: notBool},
	{name: "is null", params: kinds{anyKind}, result: boolean, semantics: "never NULL; a missing member and JSON null are NULL", lazy: evalIsNull},
	{name: "is true", params: kinds{boolean}, result: boolean, semantics: "never NULL", lazy: evalIsTrue},
	{name: "is false", params: kinds{boolean}, result: boolean, semantics: "never NULL", lazy: evalIsFalse},
	{name: "in", params: kinds{anyKind, anyKind}, variadic: true, result: boolean, semantics: "equal to one of the literals; NULL if not and one of them is NULL", run: inSet},
	{name: "like", params: kinds{text, text}, result: boolean, semantics: "% any text, _ one character; the pattern is a literal without backslash", run: likePattern},
	{name: "case", params: kinds{anyKind}, variadic: true, result: anyKind, semantics: "the value of the first condition that is true; others are not evaluated", lazy: evalCase},
	{name: "coalesce", params: kinds{anyKind}, variadic: true, result: anyKind, semantics: "the first that is not NULL; later ones are not evaluated", lazy: evalCoalesce},

	{name: "trim", params: kinds{text}, result: text, semantics: "without spaces (U+0020) at both ends", run: trimText},
	{name: "lower", params: kinds{text}, result: text, semantics: "A-Z to a-z, nothing else", run: lowerText},
	{name: "upper", params: kinds{text}, result: text, semantics: "a-z to A-Z, nothing else", run: upperText},
	{name: "length", params: kinds{text}, result: long, semantics: "number of code points", run: lengthText},
	{name: "starts_with", params: kinds{text, text}, result: boolean, semantics: "begins with these bytes", run: startsWith},
	{name: "contains", params: kinds{text, text}, result: boolean, semantics: "has these bytes in it", run: containsText},
	{name: "contains", params: kinds{list, text}, result: boolean, semantics: "has this element", run: containsElement},
	{name: "cardinality", params: kinds{list}, result: long, semantics: "number of elements", run: cardinality},

	{name: "date_trunc", params: kinds{text, instant}, result: instant, semantics: "start of the minute, hour, day, week (Monday), month or year in the view's zone; the unit is a literal", run: truncInstant},
	{name: "date_trunc", params: kinds{text, date}, result: date, semantics: "first day of the week (Monday), month or year; the unit is a literal", run: truncDate},
	{name: "extract", params: kinds{text, instant}, result: long, semantics: "year, month, day or hour in the view's zone", run: extractInstant},
	{name: "extract", params: kinds{text, date}, result: long, semantics: "year, month or day", run: extractDate},

	{name: "cast", params: kinds{long}, result: double, semantics: "nearest double", run: longToDouble},
	{name: "cast", params: kinds{long}, result: text, semantics: "decimal", run: longToText},
	{name: "cast", params: kinds{double}, result: long, semantics: "towards zero; fails outside 64 bits and on NaN", run: doubleToLong},
	{name: "cast", params: kinds{double}, result: text, semantics: "shortest decimal that reads back as the same double", kernelOnly: true, run: doubleToText},
	{name: "cast", params: kinds{boolean}, result: long, semantics: "0 or 1", run: boolToLong},
	{name: "cast", params: kinds{boolean}, result: text, semantics: "false or true", run: boolToText},
	{name: "cast", params: kinds{instant}, result: date, semantics: "date in the view's zone", run: instantToDate},
	{name: "cast", params: kinds{instant}, result: text, semantics: "RFC 3339 in UTC, without trailing zeros of the fraction", kernelOnly: true, run: instantToText},
	{name: "cast", params: kinds{date}, result: instant, semantics: "begin of the day in the view's zone", run: dateToInstant},
	{name: "cast", params: kinds{date}, result: text, semantics: "2006-01-02", run: dateToText},
	{name: "cast", params: kinds{text}, result: long, semantics: "decimal integer, spaces around allowed; else fails", run: textToLong},
	{name: "cast", params: kinds{text}, result: double, semantics: "decimal number with optional exponent, spaces around allowed; else fails", run: textToDouble},
	{name: "cast", params: kinds{text}, result: boolean, semantics: "true or false in any case; else fails", run: textToBool},
	{name: "cast", params: kinds{text}, result: instant, semantics: "ISO 8601, in the view's zone where it names none; else fails", kernelOnly: true, run: textToInstant},
	{name: "cast", params: kinds{text}, result: date, semantics: "2006-01-02; else fails", run: textToDate},
	{name: "cast", params: kinds{json}, result: text, semantics: "the text of a JSON string; other values as written", kernelOnly: true, run: jsonToText},
	{name: "cast", params: kinds{json}, result: long, semantics: "as cast of its text; a number with a fraction of 0 is an integer", kernelOnly: true, run: jsonToLong},
	{name: "cast", params: kinds{json}, result: double, semantics: "as cast of its text", kernelOnly: true, run: jsonToDouble},
	{name: "cast", params: kinds{json}, result: boolean, semantics: "as cast of its text", kernelOnly: true, run: jsonToBool},
	{name: "cast", params: kinds{json}, result: instant, semantics: "as cast of its text", kernelOnly: true, run: jsonToInstant},
	{name: "cast", params: kinds{json}, result: date, semantics: "as cast of its text", kernelOnly: true, run: jsonToDate},
}
