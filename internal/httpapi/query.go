package httpapi

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/query"
)

// Querier answers questions about views.
type Querier interface {
	Query(ctx context.Context, q query.Request) (*query.Answer, error)
}

// question is query.Request as a posted body has it.
type question struct {
	View     string   `json:"view"`
	Measures []string `json:"measures"`
	By       []string `json:"by"`
	Filter   string   `json:"f"`
	From     string   `json:"from"`
	To       string   `json:"to"`
	Grain    string   `json:"grain"`
	TZ       string   `json:"tz"`
	AsOf     string   `json:"as_of"`
	Order    string   `json:"order"`
	Limit    int      `json:"limit"`
}

// maxQuery is the most bytes of a question.
const maxQuery = 64 << 10

func (a *API) query(w http.ResponseWriter, r *http.Request) error {
	q, asCSV, err := a.readQuery(w, r)
	if err != nil {
		return err
	}
	if q.View == "" {
		return problemf(http.StatusBadRequest, "bad_parameter", "view is missing: write view=pins")
	}
	name, _, _ := strings.Cut(q.View, "@") // of which version is asked, VIEW@building
	if err := a.mayView(w, r, name); err != nil {
		return err
	}
	ans, err := a.deps.Querier.Query(r.Context(), query.Request(q))
	if fault.CodeOf(err) == "unknown_view" && a.deps.Catalogue != nil {
		if snap, loadErr := a.deps.Catalogue.Load(r.Context()); loadErr == nil {
			return unknownView(snap, name)
		}
	}
	if err != nil {
		return err
	}
	var out bytes.Buffer
	kind := "application/json"
	if asCSV {
		kind = "text/csv; charset=utf-8"
		err = writeCSV(&out, ans)
	} else {
		var body []byte
		if body, err = ans.AppendJSON(out.AvailableBuffer()); err == nil {
			out = *bytes.NewBuffer(append(body, '\n'))
		}
	}
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	h := w.Header()
	setClock(w)
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache") // kept, but asked about each time
	h.Set("Vary", "Accept")
	if !ans.CompleteTo.IsZero() {
		h.Set("Pinflow-Complete-To", ans.CompleteTo.UTC().Format(time.RFC3339Nano))
	}
	if asCSV {
		h.Set("Content-Disposition", `attachment; filename="`+fileName(q.View)+`.csv"`)
	}
	// The body holds version ids, the range, what is complete and the numbers, and no clock: its hash
	// changes exactly when the answer does.
	etag := fmt.Sprintf(`"%016x"`, xxh3.Hash(out.Bytes()))
	h.Set("ETag", etag)
	if r.Method == http.MethodGet && matches(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(out.Bytes()) // the client is gone: nobody is left to tell
	return nil
}

func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// fileName keeps what is safe in a header.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, s)
}

// readQuery reads a question from the address or, when posted, from a JSON body.
func (a *API) readQuery(w http.ResponseWriter, r *http.Request) (question, bool, error) {
	var q question
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, false, problemf(http.StatusBadRequest, "bad_parameter", "the query string cannot be read: %v", err)
	}
	asCSV, err := wantsCSV(params, r.Header.Get("Accept"))
	if err != nil {
		return q, false, err
	}
	if r.Method == http.MethodPost {
		err = a.readJSON(w, r, maxQuery, &q)
	} else {
		err = q.fromParams(params)
	}
	return q, asCSV, err
}

func wantsCSV(params url.Values, accept string) (bool, error) {
	switch f := params.Get("format"); f {
	case "":
		return strings.HasPrefix(accept, "text/csv"), nil
	case "json", "csv":
		return f == "csv", nil
	default:
		return false, problemf(http.StatusBadRequest, "bad_parameter", "format=%s is not one of json, csv", f)
	}
}

func (q *question) fromParams(params url.Values) error {
	texts := map[string]*string{
		"view": &q.View, "f": &q.Filter, "from": &q.From, "to": &q.To, "grain": &q.Grain, "tz": &q.TZ, "as_of": &q.AsOf, "order": &q.Order,
	}
	lists := map[string]*[]string{"measures": &q.Measures, "m": &q.Measures, "by": &q.By}
	for key, values := range params {
		v := values[0]
		if len(values) > 1 {
			return problemf(http.StatusBadRequest, "bad_parameter", "%s is given %d times", key, len(values))
		}
		switch {
		case key == "format":
		case texts[key] != nil:
			*texts[key] = v
		case lists[key] != nil:
			*lists[key] = splitNames(v)
		case key == "limit":
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 {
				return problemf(http.StatusBadRequest, "bad_parameter", "limit=%s is not a number of rows", v)
			}
			q.Limit = n
		default:
			return unknownParameter(key, "view", "measures", "m", "by", "f", "from", "to", "grain", "tz", "as_of", "order", "limit", "format")
		}
	}
	return nil
}

func splitNames(text string) []string {
	var out []string
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// writeCSV writes the rows, each with its state and how far the answer is complete, so that a number
// in a spreadsheet still says what it is worth.
func writeCSV(w io.Writer, ans *query.Answer) error {
	out := csv.NewWriter(w)
	if err := out.Write(append(append([]string{}, ans.Columns...), "_state", "_complete_to")); err != nil {
		return err
	}
	completeTo := ""
	if !ans.CompleteTo.IsZero() {
		completeTo = ans.CompleteTo.UTC().Format(time.RFC3339Nano)
	}
	line := make([]string, len(ans.Columns)+2)
	for i, row := range ans.Rows {
		for j := range ans.Columns {
			line[j] = csvText(row[j])
		}
		line[len(line)-2], line[len(line)-1] = "", completeTo
		if i < len(ans.Points.State) {
			line[len(line)-2] = ans.Points.State[i]
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// csvText writes a value plainly. A text that a spreadsheet would take for a formula gets a leading
// apostrophe, as spreadsheets themselves write it.
func csvText(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		if x != "" && strings.ContainsRune("=+-@\t\r", rune(x[0])) {
			return "'" + x
		}
		return x
	case time.Time:
		return x.UTC().Format(time.RFC3339Nano)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	}
	return strings.Trim(fmt.Sprint(v), `"`)
}
