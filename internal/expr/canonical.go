package expr

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
)

// Canonical returns the expression's text with every conversion and bracket written out. Two texts
// that mean the same tree have the same canonical form, and it compiles to that tree again.
func (e *Expr) Canonical() string { return e.root.canonical() }

func (n *node) canonical() string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

func (n *node) write(b *strings.Builder) {
	switch n.form {
	case nodeColumn:
		b.WriteString(identifier(n.name))
		for _, m := range n.path {
			b.WriteByte('.')
			b.WriteString(identifier(m))
		}
	case nodeLiteral:
		n.writeLiteral(b)
	case nodeCall:
		n.writeCall(b)
	}
}

func (n *node) writeCall(b *strings.Builder) {
	name := n.fn.name
	switch name {
	case "and", "or", "=", "<>", "<", "<=", "+", "*", "/", "like", "-":
		b.WriteByte('(')
		if len(n.args) == 2 {
			n.args[0].write(b)
			b.WriteByte(' ')
		}
		b.WriteString(name)
		b.WriteByte(' ')
		n.args[len(n.args)-1].write(b)
		b.WriteByte(')')
	case "not":
		b.WriteString("(not ")
		n.args[0].write(b)
		b.WriteByte(')')
	case "is null", "is true", "is false":
		b.WriteByte('(')
		n.args[0].write(b)
		b.WriteByte(' ')
		b.WriteString(name)
		b.WriteByte(')')
	case "in":
		b.WriteByte('(')
		n.args[0].write(b)
		b.WriteString(" in ")
		writeList(b, n.args[1:])
		b.WriteByte(')')
	case "cast":
		b.WriteString("cast(")
		n.args[0].write(b)
		b.WriteString(" as " + n.kind.String() + ")")
	case "extract":
		b.WriteString("extract(" + n.args[0].s + " from ")
		n.args[1].write(b)
		b.WriteByte(')')
	case "case":
		b.WriteString("case")
		for i := 0; i+1 < len(n.args); i += 2 {
			b.WriteString(" when ")
			n.args[i].write(b)
			b.WriteString(" then ")
			n.args[i+1].write(b)
		}
		b.WriteString(" else ")
		n.args[len(n.args)-1].write(b)
		b.WriteString(" end")
	default:
		b.WriteString(name)
		writeList(b, n.args)
	}
}

func writeList(b *strings.Builder, args []*node) {
	b.WriteByte('(')
	for i, a := range args {
		if i > 0 {
			b.WriteString(", ")
		}
		a.write(b)
	}
	b.WriteByte(')')
}

func (n *node) writeLiteral(b *strings.Builder) {
	if n.null {
		switch n.kind {
		case long, double, boolean, instant, date, text:
			b.WriteString("cast(null as " + n.kind.String() + ")")
		default: // its neighbours give it its type
			b.WriteString("null")
		}
		return
	}
	switch n.kind {
	case long:
		b.WriteString(strconv.FormatInt(n.i, 10))
	case double:
		s := strconv.FormatFloat(n.f, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
		b.WriteString(s)
	case boolean:
		b.WriteString(strconv.FormatBool(n.i != 0))
	case instant:
		b.WriteString("timestamp '" + instantText(n.i) + "'")
	case date:
		b.WriteString("date '" + dateText(n.i) + "'")
	default:
		b.WriteString("'" + strings.ReplaceAll(n.s, "'", "''") + "'")
	}
}

// identifier quotes a name that is not a plain one. Names that begin an expression of another kind
// (date '…') are plain: they are followed by text only there.
func identifier(name string) string {
	plain := name != "" && isLetter(name[0]) && !slices.Contains(keywords, strings.ToLower(name))
	for i := range len(name) {
		plain = plain && (isLetter(name[i]) || isDigit(name[i]))
	}
	if plain {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

func instantText(us int64) string { return string(appendInstant(nil, us)) }

func appendInstant(dst []byte, us int64) []byte {
	return time.UnixMicro(us).UTC().AppendFormat(dst, time.RFC3339Nano)
}

func dateText(d int64) string { return string(appendDate(nil, d)) }

func appendDate(dst []byte, d int64) []byte {
	y, m, day := calendar.Civil(d)
	if y < 0 || y > 9999 {
		return append(strconv.AppendInt(dst, int64(y), 10), '-', byte('0'+m/10), byte('0'+m%10), '-', byte('0'+day/10), byte('0'+day%10))
	}
	return append(dst, byte('0'+y/1000), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10),
		'-', byte('0'+m/10), byte('0'+m%10), '-', byte('0'+day/10), byte('0'+day%10))
}
