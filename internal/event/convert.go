package event

import (
	"bytes"

	"github.com/pinflow/pinflow/internal/column"
)

// Codes of verdicts. Only the first three say that a value is not an event at all.
const (
	CodeNotJSON      = "not_json"
	CodeNotObject    = "not_an_object"
	CodeTooDeep      = "too_deep"
	CodeTypeMismatch = "type_mismatch"
	CodeOutOfRange   = "out_of_range"
	CodeBadTimestamp = "bad_timestamp"
	CodeTooOld       = "too_old"
	CodeTooFarAhead  = "too_far_ahead"
	CodeBadEventID   = "bad_event_id"
)

// Malformed tells whether the value is no event at all: the collector refuses it.
func (v Verdict) Malformed() bool {
	return v.Code == CodeNotJSON || v.Code == CodeNotObject || v.Code == CodeTooDeep
}

// fault of a value, with what was expected instead.
type fault uint8

const (
	fine fault = iota
	notInteger
	notNumber
	notBoolean
	notText
	notTime
	notDate
	notList
	notMicros
	longRange
	doubleRange
	timeRange
)

var faults = [...]struct{ code, want string }{
	notInteger: {CodeTypeMismatch, "integer"}, notNumber: {CodeTypeMismatch, "number"},
	notBoolean: {CodeTypeMismatch, "boolean"}, notText: {CodeTypeMismatch, "string"},
	notTime: {CodeTypeMismatch, "timestamp"}, notDate: {CodeTypeMismatch, "date"},
	notList: {CodeTypeMismatch, "list of strings"}, notMicros: {CodeTypeMismatch, "timestamp of whole microseconds"},
	longRange: {CodeOutOfRange, "integer of 64 bits"}, doubleRange: {CodeOutOfRange, "number of double precision"},
	timeRange: {CodeOutOfRange, "timestamp"},
}

// wrongType is the fault of a value that has not the kind's form.
var wrongType = [...]fault{
	column.Long: notInteger, column.Double: notNumber, column.Boolean: notBoolean, column.Timestamptz: notTime,
	column.Date: notDate, column.String: notText, column.List: notList,
}

// cell is a field's value. Text and list elements share memory with the event or the converter's scratch.
type cell struct {
	valid bool
	keep  bool // the column's form does not give the original back
	fault fault
	list  [2]int32 // range of converter.items
	i     int64
	f     float64
	text  []byte
}

// converter makes cells of tokens. Its scratch holds unescaped texts, its items the elements of lists.
type converter struct {
	scan    *scanner
	scratch []byte
	items   [][]byte
	digits  [32]byte
}

func (c *converter) reset() { c.scratch, c.items = c.scratch[:0], c.items[:0] }

func (v *cell) null()        { *v = cell{keep: true} }
func (v *cell) fail(f fault) { *v = cell{keep: true, fault: f} }

func (v *cell) setInt(i int64) {
	v.valid, v.i = true, i
}

// convert makes the cell of a field from the value at t. With needed false only the verdict counts.
func (c *converter) convert(v *cell, f *field, t *token, needed bool) {
	*v = cell{}
	switch t.kind {
	case tokenNone:
	case tokenNull:
		v.keep = true
	case tokenString:
		switch {
		case f.kind == column.JSON:
			v.valid, v.text = true, c.raw(t)
		case f.kind == column.String && !needed:
		case f.plain && t.flags == 0:
			v.valid, v.text = true, c.scan.b[t.from+1:t.to-1]
		default:
			c.fromText(v, f, t)
		}
	default:
		c.fromOther(v, f, t)
	}
}

func (c *converter) raw(t *token) []byte { return c.scan.b[t.from:t.to] }

// fromOther makes a cell of what is neither text nor null.
func (c *converter) fromOther(v *cell, f *field, t *token) {
	switch {
	case f.kind == column.JSON:
		v.valid, v.text = true, c.raw(t)
	case t.kind == tokenNumber && f.isNull(c.raw(t)):
		v.null()
	case t.kind == tokenNumber:
		c.fromNumber(v, f, c.raw(t), t.integer())
	case t.kind == tokenArray && f.kind == column.List:
		c.fromArray(v, f, t)
	case t.kind == tokenTrue && f.kind == column.Boolean:
		v.setInt(1)
	case t.kind == tokenFalse && f.kind == column.Boolean:
		v.setInt(0)
	default:
		v.fail(wrongType[f.kind])
	}
}

func (f *field) isNull(text []byte) bool {
	for _, n := range f.NullIf {
		if string(text) == n {
			return true
		}
	}
	return false
}

// unescape returns the text that a string token means.
func (c *converter) unescape(t *token) []byte {
	inside := c.scan.b[t.from+1 : t.to-1]
	if !t.escaped() {
		return inside
	}
	from := len(c.scratch)
	c.scratch = appendUnescaped(c.scratch, inside, false)
	return c.scratch[from:]
}

// trim and lower clean as the field says and note when that changed anything.
func (c *converter) trim(v *cell, f *field, text []byte) []byte {
	if !f.Trim {
		return text
	}
	n := len(text)
	text = trimSpace(text)
	v.keep = v.keep || len(text) != n
	return text
}

func (c *converter) lower(v *cell, f *field, text []byte) []byte {
	if !f.Lower || !hasUpper(text) {
		return text
	}
	v.keep = true
	from := len(c.scratch)
	c.scratch = appendLower(c.scratch, text)
	return c.scratch[from:]
}

// fromText cleans a text and makes a cell of it: trim, null_if, strip_prefix, lower, then split or parse.
func (c *converter) fromText(v *cell, f *field, t *token) {
	v.keep = t.lone()
	text := c.trim(v, f, c.unescape(t))
	if f.isNull(text) {
		v.null()
		return
	}
	if len(f.prefix) > 0 {
		rest, had := bytes.CutPrefix(text, f.prefix)
		text, v.keep = rest, v.keep || !had
	}
	text = c.lower(v, f, text)
	switch f.kind {
	case column.String:
		v.valid, v.text = true, text
	case column.List:
		c.split(v, f, text)
	case column.Boolean:
		c.fromWord(v, string(text))
	case column.Timestamptz:
		c.fromTime(v, f, text)
	case column.Date:
		c.fromDate(v, f, text)
	default:
		c.fromDigits(v, f, text)
	}
}

func (c *converter) fromWord(v *cell, word string) {
	v.keep = true // the column gives back a literal, not a text
	switch word {
	case "true":
		v.setInt(1)
	case "false":
		v.setInt(0)
	default:
		v.fail(notBoolean)
	}
}

// fromDigits makes a number of a text.
func (c *converter) fromDigits(v *cell, f *field, text []byte) {
	power := 0
	if f.human {
		text, power = humanSuffix(text)
	}
	ok, integer := wholeNumber(text)
	switch {
	case !ok:
		v.fail(wrongType[f.kind])
	case power == 0:
		c.fromNumber(v, f, text, integer)
	default:
		c.scaled(v, f, text, integer, power)
	}
	v.keep = true // the column gives back a number, not a text
}

// scaled makes a cell of a number times a power of ten.
func (c *converter) scaled(v *cell, f *field, number []byte, integer bool, power int) {
	if f.kind == column.Double {
		exact := append(c.digits[:0], number...)
		if !integer || len(number) > len(c.digits)-3 {
			d := parseDecimal(number)
			exact = appendDecimal(c.digits[:0], &d, power)
		} else {
			exact = append(exact, 'e', '0'+byte(power))
		}
		x, _, fits := parseDouble(exact, &c.digits)
		v.setDouble(x, true, fits)
		return
	}
	if integer && len(number) <= 9 {
		x, _, _ := parseLong(number, true)
		for range power {
			x *= 10
		}
		v.setInt(x)
		return
	}
	d := parseDecimal(number)
	v.setLong(d.long(int64(power)))
}

func (v *cell) setLong(x int64, integer, fits bool) {
	switch {
	case !integer:
		v.fail(notInteger)
	case !fits:
		v.fail(longRange)
	default:
		v.setInt(x)
	}
}

func (v *cell) setDouble(x float64, same, fits bool) {
	if !fits {
		v.fail(doubleRange)
		return
	}
	v.valid, v.f, v.keep = true, x, v.keep || !same
}

// fromNumber makes a cell of a well-formed JSON number.
func (c *converter) fromNumber(v *cell, f *field, b []byte, integer bool) {
	switch {
	case f.kind == column.Long:
		v.setLong(parseLong(b, integer))
	case f.kind == column.Double:
		v.setDouble(parseDouble(b, &c.digits))
	case f.unix:
		d := parseDecimal(b)
		switch x, whole, fits := d.long(f.shift); {
		case !whole:
			v.fail(notMicros)
		case !fits:
			v.fail(timeRange)
		default:
			v.setInt(x)
		}
	default:
		v.fail(wrongType[f.kind])
	}
}

// fromTime reads a time.
func (c *converter) fromTime(v *cell, f *field, text []byte) {
	var form timeForm
	var micros int64
	var same, ok bool
	switch {
	case f.unix:
		if number, _ := wholeNumber(text); !number {
			v.fail(notTime)
			return
		}
		c.fromNumber(v, f, text, false)
		v.keep = true
		return
	case f.Layout == "":
		micros, form, ok = parseTime(text)
		same = form == formCanonical
	case f.Layout == layoutPlain:
		micros, form, ok = parseTime(text)
		same = form == formPlain
		ok = ok && (text[10] == ' ' && !hasZone(text) || zoned(text))
	default:
		if micros, same, ok = parseLayout(f.Layout, text); !ok && zoned(text) {
			micros, _, ok = parseTime(text)
		}
	}
	if !ok {
		v.fail(notTime)
		return
	}
	v.keep = v.keep || !same
	v.setInt(micros)
}

// zoned tells whether a text is RFC 3339 with its zone, which no layout reads otherwise.
func zoned(text []byte) bool { return len(text) >= 20 && text[10]|0x20 == 't' && hasZone(text) }

func hasZone(text []byte) bool {
	return len(text) > 19 && (text[len(text)-1]|0x20 == 'z' || bytes.ContainsAny(text[19:], "+-"))
}

// fromDate reads a date.
func (c *converter) fromDate(v *cell, f *field, text []byte) {
	var days int64
	var ok bool
	if f.Layout == "" || f.Layout == layoutDate {
		days, ok = parseDate(text)
	} else {
		var micros int64
		var same bool
		micros, same, ok = parseLayout(f.Layout, text)
		days = floorDiv(micros, microsPerDay)
		v.keep = v.keep || !same || micros != days*microsPerDay
	}
	if !ok {
		v.fail(notDate)
		return
	}
	v.setInt(days)
}

// split makes a list of a text. An empty text is an empty list.
func (c *converter) split(v *cell, f *field, text []byte) {
	if f.Split == "" {
		v.fail(notList)
		return
	}
	v.valid, v.list[0] = true, int32(len(c.items))
	for rest, more := text, len(text) > 0; more; {
		item := rest
		var at int
		if len(f.Split) == 1 {
			at = bytes.IndexByte(rest, f.Split[0])
		} else {
			at = bytes.Index(rest, f.sep)
		}
		if more = at >= 0; more {
			item, rest = rest[:at], rest[at+len(f.Split):]
		}
		c.items = append(c.items, c.trim(v, f, item))
	}
	v.list[1] = int32(len(c.items))
}

// fromArray makes a list of an array of strings.
func (c *converter) fromArray(v *cell, f *field, array *token) {
	b := c.scan.b
	v.valid, v.keep, v.list[0] = true, f.Split != "", int32(len(c.items))
	for i := skipSpace(b, int(array.from)+1); b[i] != ']'; {
		var t token
		end := c.scan.value(i, &t)
		if t.kind != tokenString {
			v.fail(notList)
			return
		}
		v.keep = v.keep || t.lone()
		text := c.trim(v, f, c.unescape(&t))
		c.items = append(c.items, c.lower(v, f, text))
		if i = skipSpace(b, end); b[i] == ',' {
			i = skipSpace(b, i+1)
		}
	}
	v.list[1] = int32(len(c.items))
}
