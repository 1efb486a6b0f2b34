package config

// kind is what a place of a file may hold.
type kind uint8

const (
	object     kind = iota // a mapping with known keys
	list                   // a sequence
	dict                   // a mapping with free keys
	text                   // a string
	expression             // text that may look like a number or a boolean
	integer                //
	number                 //
	boolean                //
	duration               // 10m, 3650d; decoded to nanoseconds unless asText
	size                   // 512MiB; decoded to bytes
	word                   // one of words
	address                // host:port
	anything               // any value
)

var kindNames = [...]string{
	"a mapping", "a list", "a mapping", "text", "text", "a whole number", "a number", "true or false",
	"a duration", "a size", "one word", "an address", "anything",
}

// shape describes one place of a file: what it holds, and what is allowed there.
// Checks, JSON Schemas and `config show` all come from it.
type shape struct {
	kind    kind
	keys    []key    // of an object, in the order in which they are documented
	of      *shape   // element of a list, value of a dict
	words   []string // allowed words; beside a duration: words that stand for one
	names   []string // allowed keys of a dict; nil: any
	pattern string   // regular expression that a text has to match, without anchors
	says    string   // what the pattern means, for people
	like    string   // an example, for messages
	min     *float64 // of numbers, inclusive
	max     *float64
	asText  bool // keep a duration's text
	percent bool // a share of 1: hint for those who write 50
}

// key is one key of an object.
type key struct {
	name     string
	doc      string
	shape    *shape
	required bool
	def      string // default, as it would be written; "" none
	secret   bool   // never shown; in a file only as NAME_file or ${VAR}
	byFile   bool   // NAME_file may name a file that holds the value
	path     bool   // a path: relative ones are taken from the file's folder
}

// names of the keys, those that name a file of the value included.
func (s *shape) keyNames() []string {
	var names []string
	for _, k := range s.keys {
		names = append(names, k.name)
		if k.byFile {
			names = append(names, k.name+"_file")
		}
	}
	return names
}

// expand adds to an object the keys that name a file of another key's value.
func (s *shape) expand() []key {
	var keys []key
	for _, k := range s.keys {
		keys = append(keys, k)
		if k.byFile {
			keys = append(keys, key{name: k.name + "_file", doc: "File that holds " + k.name + ".", shape: textShape, path: true})
		}
	}
	return keys
}

func bound(v float64) *float64 { return &v }
