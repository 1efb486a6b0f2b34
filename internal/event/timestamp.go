package event

import (
	"time"
)

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 86_400 * microsPerSecond

	layoutPlain = "2006-01-02 15:04:05"
	layoutDate  = "2006-01-02"

	// Layouts of times that are numbers since 1970-01-01T00:00:00Z.
	layoutUnix      = "unix"
	layoutUnixMilli = "unix_ms"
	layoutUnixMicro = "unix_us"
)

// unixShift is the power of ten from a unix layout's unit to microseconds; ok is false for other layouts.
func unixShift(layout string) (shift int64, ok bool) {
	switch layout {
	case layoutUnix:
		return 6, true
	case layoutUnixMilli:
		return 3, true
	case layoutUnixMicro:
		return 0, true
	}
	return 0, false
}

// daysFromCivil counts the days from 1970-01-01 to a date of the proleptic Gregorian calendar
// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
func daysFromCivil(y, m, d int64) int64 {
	if m <= 2 {
		y--
	}
	era := floorDiv(y, 400)
	yoe := y - era*400
	doy := (153*((m+9)%12)+2)/5 + d - 1
	return era*146_097 + yoe*365 + yoe/4 - yoe/100 + doy - 719_468
}

func civilFromDays(z int64) (y, m, d int64) {
	z += 719_468
	era := floorDiv(z, 146_097)
	doe := z - era*146_097
	yoe := (doe - doe/1460 + doe/36_524 - doe/146_096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = doy - (153*mp+2)/5 + 1
	m = (mp+2)%12 + 1
	y = yoe + era*400
	if m <= 2 {
		y++
	}
	return y, m, d
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func monthDays(y, m int64) int64 {
	switch m {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

func digits(b []byte, from, n int) (v int64, ok bool) {
	for _, c := range b[from : from+n] {
		if c-'0' > 9 {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	return v, true
}

// parseDate reads 2006-01-02.
func parseDate(b []byte) (days int64, ok bool) {
	if len(b) != 10 || b[4] != '-' || b[7] != '-' {
		return 0, false
	}
	y, ok1 := digits(b, 0, 4)
	m, ok2 := digits(b, 5, 2)
	d, ok3 := digits(b, 8, 2)
	if !ok1 || !ok2 || !ok3 || m < 1 || m > 12 || d < 1 || d > monthDays(y, m) {
		return 0, false
	}
	return daysFromCivil(y, m, d), true
}

// forms of a time's text.
type timeForm uint8

const (
	formOther     timeForm = iota
	formCanonical          // as appendTime writes it
	formPlain              // 2006-01-02 15:04:05
)

// parseTime reads RFC 3339 and 2006-01-02 15:04:05[.999999], which without a zone is UTC.
// Digits beyond microseconds are cut off.
func parseTime(b []byte) (micros int64, form timeForm, ok bool) {
	if len(b) < 19 || b[13] != ':' || b[16] != ':' || b[10] != ' ' && b[10]|0x20 != 't' {
		return 0, formOther, false
	}
	days, ok := parseDate(b[:10])
	if !ok {
		return 0, formOther, false
	}
	h, ok1 := digits(b, 11, 2)
	m, ok2 := digits(b, 14, 2)
	s, ok3 := digits(b, 17, 2)
	if !ok1 || !ok2 || !ok3 || h > 23 || m > 59 || s > 59 {
		return 0, formOther, false
	}
	micros = days*microsPerDay + (h*3600+m*60+s)*microsPerSecond
	rest, exact := b[19:], true
	if len(rest) > 0 && rest[0] == '.' {
		n := digitsEnd(rest, 1)
		if n == 1 {
			return 0, formOther, false
		}
		scale := int64(microsPerSecond)
		for _, c := range rest[1:min(n, 7)] {
			scale /= 10
			micros += int64(c-'0') * scale
		}
		exact = n <= 7 && rest[n-1] != '0'
		rest = rest[n:]
	}
	offset, utc, ok := parseZone(rest)
	if !ok {
		return 0, formOther, false
	}
	switch {
	case utc && exact && b[10] == 'T':
		form = formCanonical
	case len(b) == 19 && b[10] == ' ':
		form = formPlain
	}
	return micros - offset*microsPerSecond, form, true
}

// parseZone reads nothing, Z, ±15:04 or ±1504, in seconds east of UTC. zulu: it is a capital Z.
func parseZone(b []byte) (seconds int64, zulu, ok bool) {
	switch {
	case len(b) == 0:
		return 0, false, true
	case len(b) == 1:
		return 0, b[0] == 'Z', b[0]|0x20 == 'z'
	case b[0] != '+' && b[0] != '-':
		return 0, false, false
	}
	i := 3
	switch {
	case len(b) == 6 && b[3] == ':':
		i = 4
	case len(b) != 5:
		return 0, false, false
	}
	h, ok1 := digits(b, 1, 2)
	m, ok2 := digits(b, i, 2)
	if !ok1 || !ok2 || h > 23 || m > 59 {
		return 0, false, false
	}
	seconds = h*3600 + m*60
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, false, true
}

// appendTime appends a time as 2006-01-02T15:04:05.999999Z, or with plain as 2006-01-02 15:04:05.
func appendTime(dst []byte, micros int64, plain bool) []byte {
	days := floorDiv(micros, microsPerDay)
	rest := micros - days*microsPerDay
	dst = appendDate(dst, days)
	sep := byte('T')
	if plain {
		sep = ' '
	}
	seconds := rest / microsPerSecond
	dst = appendPadded(append(dst, sep), seconds/3600, 2)
	dst = appendPadded(append(dst, ':'), seconds/60%60, 2)
	dst = appendPadded(append(dst, ':'), seconds%60, 2)
	if plain {
		return dst
	}
	if fraction := rest % microsPerSecond; fraction != 0 {
		dst = appendPadded(append(dst, '.'), fraction, 6)
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return append(dst, 'Z')
}

func appendDate(dst []byte, days int64) []byte {
	y, m, d := civilFromDays(days)
	dst = appendPadded(dst, y, 4)
	dst = appendPadded(append(dst, '-'), m, 2)
	return appendPadded(append(dst, '-'), d, 2)
}

func appendPadded(dst []byte, v int64, width int) []byte {
	var b [20]byte
	i := len(b)
	for n := v; n > 0 || len(b)-i < width; n /= 10 {
		i--
		b[i] = byte('0' + n%10)
	}
	return append(dst, b[i:]...)
}

// parseLayout reads a text by a Go layout, UTC unless it names its zone.
func parseLayout(layout string, b []byte) (micros int64, same, ok bool) {
	t, err := time.ParseInLocation(layout, string(b), time.UTC)
	if err != nil {
		return 0, false, false
	}
	micros = t.UnixMicro()
	return micros, string(appendLayout(nil, layout, micros)) == string(b), true
}

func appendLayout(dst []byte, layout string, micros int64) []byte {
	return time.UnixMicro(micros).UTC().AppendFormat(dst, layout)
}
