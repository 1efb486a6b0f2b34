package event

import (
	"math"
	"strconv"
)

// decimal is the exact value of a JSON number: 0.digits × 10^exp, digits without zeros at either end.
type decimal struct {
	negative bool
	digits   [2][]byte // before and after the point, shared with the literal
	exp      int64
}

// exponents are clipped here: beyond it no literal of a permitted length equals any double or long.
const maxExp = 1 << 40

// parseDecimal takes a well-formed JSON number apart.
func parseDecimal(b []byte) (d decimal) {
	if b[0] == '-' {
		d.negative, b = true, b[1:]
	}
	i := digitsEnd(b, 0)
	whole, fraction := b[:i], []byte(nil)
	if b = b[i:]; len(b) > 0 && b[0] == '.' {
		i = digitsEnd(b, 1)
		fraction, b = b[1:i], b[i:]
	}
	if len(b) > 0 {
		d.exp = parseExp(b[1:])
	}
	for len(whole) > 0 && whole[0] == '0' {
		whole = whole[1:]
	}
	for len(fraction) > 0 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	d.exp += int64(len(whole))
	if len(whole) == 0 {
		for len(fraction) > 0 && fraction[0] == '0' {
			fraction = fraction[1:]
			d.exp--
		}
	}
	if len(fraction) == 0 {
		for len(whole) > 0 && whole[len(whole)-1] == '0' {
			whole = whole[:len(whole)-1]
		}
	}
	d.digits = [2][]byte{whole, fraction}
	if d.len() == 0 {
		return decimal{}
	}
	return d
}

func parseExp(b []byte) (e int64) {
	negative := b[0] == '-'
	if negative || b[0] == '+' {
		b = b[1:]
	}
	for _, c := range b {
		if e = e*10 + int64(c-'0'); e > maxExp {
			e = maxExp
		}
	}
	if negative {
		return -e
	}
	return e
}

func (d *decimal) len() int { return len(d.digits[0]) + len(d.digits[1]) }

func (d *decimal) digit(i int) byte {
	if n := len(d.digits[0]); i >= n {
		return d.digits[1][i-n]
	}
	return d.digits[0][i]
}

func (d *decimal) equal(o *decimal) bool {
	n := d.len()
	if n != o.len() || d.negative != o.negative || d.exp != o.exp {
		return false
	}
	for i := range n {
		if d.digit(i) != o.digit(i) {
			return false
		}
	}
	return true
}

// long returns the value times 10^shift if that is an integer of 64 bits.
func (d *decimal) long(shift int64) (v int64, integer, fits bool) {
	n, exp := int64(d.len()), d.exp+shift
	switch {
	case n == 0:
		return 0, true, true
	case exp < n:
		return 0, false, false
	case exp > 19:
		return 0, true, false
	}
	var u uint64
	for i := range exp {
		c := uint64(0)
		if i < n {
			c = uint64(d.digit(int(i)) - '0')
		}
		u = u*10 + c // at most 19 digits: below 2^64
	}
	switch {
	case d.negative && u <= 1<<63:
		return int64(-u), true, true
	case !d.negative && u <= math.MaxInt64:
		return int64(u), true, true
	}
	return 0, true, false
}

// parseLong reads a well-formed JSON number as a long. 1.0 and 1e3 are integers; 1.5 is not.
func parseLong(b []byte, plain bool) (v int64, integer, fits bool) {
	if !plain || len(b) > 18 {
		d := parseDecimal(b)
		return d.long(0)
	}
	i := 0
	if b[0] == '-' {
		i = 1
	}
	for _, c := range b[i:] {
		v = v*10 + int64(c-'0')
	}
	if i == 1 {
		v = -v
	}
	return v, true, true
}

// parseDouble reads a well-formed JSON number as the nearest double, and tells whether the double's
// shortest text has the same decimal value. −0 becomes 0.
func parseDouble(b []byte, scratch *[32]byte) (v float64, same, fits bool) {
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return 0, false, false
	}
	if v == 0 {
		v = 0
	}
	if fewDigits(b) {
		return v, true, true
	}
	d, o := parseDecimal(b), parseDecimal(strconv.AppendFloat(scratch[:0], v, 'g', -1, 64))
	return v, d.equal(&o), true
}

// fewDigits tells whether the literal has at most 15 digits and no exponent: such a decimal is what the
// shortest text of its nearest double says (DBL_DIG of IEEE 754 binary64).
func fewDigits(b []byte) bool {
	if len(b) > 17 {
		return false
	}
	n := 0
	for _, c := range b {
		if c-'0' <= 9 {
			n++
		} else if c|0x20 == 'e' {
			return false
		}
	}
	return n <= 15
}

// wholeNumber tells whether all of b is one JSON number, and whether it is a plain integer.
func wholeNumber(b []byte) (ok, integer bool) {
	if len(b) == 0 || b[0] != '-' && b[0]-'0' > 9 {
		return false, false
	}
	end, integer := numberEnd(b, 0)
	return end == len(b), integer
}

// appendDecimal appends d times a power of ten as a literal.
func appendDecimal(dst []byte, d *decimal, power int) []byte {
	if d.negative {
		dst = append(dst, '-')
	}
	dst = append(append(append(dst, "0."...), d.digits[0]...), d.digits[1]...)
	return strconv.AppendInt(append(dst, 'e'), d.exp+int64(power), 10)
}

// humanSuffix splits "1.5M" into its number and the power of ten: k, m, b, either case.
func humanSuffix(b []byte) (number []byte, power int) {
	if len(b) == 0 {
		return b, 0
	}
	switch b[len(b)-1] | 0x20 {
	case 'k':
		power = 3
	case 'm':
		power = 6
	case 'b':
		power = 9
	default:
		return b, 0
	}
	return b[:len(b)-1], power
}
