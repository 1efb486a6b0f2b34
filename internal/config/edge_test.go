package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Files that editors, generators and mischief make.
func TestStrangeFiles(t *testing.T) {
	good := goodProject()["streams/pin.yaml"]
	for name, test := range map[string]struct {
		src   string
		fault string // "": none
	}{
		"line ends of Windows":  {strings.ReplaceAll(good, "\n", "\r\n"), ""},
		"byte order mark":       {"\ufeff" + good, ""},
		"no line end at end":    {strings.TrimSuffix(good, "\n"), ""},
		"document start":        {"---\n" + good + "...\n", ""},
		"NUL":                   {"version: 1\nname: p\x00n\n", "name"},
		"not UTF-8":             {"version: 1\nname: \xff\xfe\n", "UTF-8"},
		"deep lists":            {"version: 1\nname: " + strings.Repeat("[", 100_000), "nested"},
		"deep mappings":         {"version: 1\nname: " + strings.Repeat("{a: ", 50_000), "nested"},
		"deep blocks":           {deepBlocks(500), "unknown key"},
		"deep dashes":           {strings.Repeat("- ", 50_000) + "x", "nested"},
		"a line of one key":     {"version: 1\nname: pin\ntopic: " + strings.Repeat("x", 200_000), "topic"},
		"many keys":             {"version: 1\nname: pin\n" + strings.Repeat("k: v\n", 5_000), "given twice"},
		"too large":             {strings.Repeat("# x\n", 70_000), "larger than"},
		"laughs":                {laughs(), "aliases make it too large"},
		"alias of itself":       {"version: 1\nname: pin\nfields: &a [*a]\n", ""},
		"merge of itself":       {"version: 1\nname: pin\ndedup: &a {<<: *a, records: 5}\n", ""},
		"secrets are no stream": {"version: 1\nname: pin\npassword: hunter2\n", "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			files := map[string]string{"pinflow.yaml": "version: 1\n", "streams/pin.yaml": test.src}
			if name == "laughs" {
				files = goodProject()
				files["metrics/pins.yaml"] = test.src
			}
			_, problems := load(t, write(t, files), nil)
			if d := time.Since(begin); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
			out := said(t, problems)
			if len(out) > 20_000 {
				t.Errorf("%d bytes of messages", len(out))
			}
			if test.fault != "" && !strings.Contains(out, test.fault) {
				t.Errorf("want %q, got %s", test.fault, out[:min(len(out), 2000)])
			}
			if test.fault == "" && !strings.Contains(name, "itself") && len(problems) > 0 {
				t.Error(out)
			}
		})
	}
}

func deepBlocks(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nname: pin\nfields:\n")
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// laughs is a view whose aliases blow up to billions of values.
func laughs() string {
	var b strings.Builder
	b.WriteString(goodProject()["metrics/pins.yaml"])
	b.WriteString("tests:\n  - name: laughs\n    expect: {rows: []}\n    events:\n      - a: &a [x, x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c < 'n'; c++ {
		fmt.Fprintf(&b, "        %c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), c-1)
	}
	return b.String()
}

// null is a word where it is one of the words, however it is written; a key without a value is the default.
func TestNullAsAWord(t *testing.T) {
	for _, test := range []struct{ given, want string }{
		{"null", "null"},
		{`"null"`, "null"},
		{"", ""}, // the default, dead_letter
		{"dead_letter", "dead_letter"},
	} {
		files := goodProject()
		files["streams/pin.yaml"] = "version: 1\nname: pin\nfields:\n  - name: category\n    type: string\n    on_error: " + test.given + "\n  - {name: follower_count, type: long}\n"
		p, problems := load(t, write(t, files), nil)
		if len(problems) > 0 {
			t.Fatal(said(t, problems))
		}
		if got := p.Streams[0].Fields[0].OnError; got != test.want {
			t.Errorf("on_error: %s is %q, want %q", test.given, got, test.want)
		}
	}
}
