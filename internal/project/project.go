package project

import (
	"bytes"
	"embed"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
)

//go:embed files
var files embed.FS

//go:embed demo/*.csv
var demo embed.FS

// Files returns the project's files as they lie in its folder: pinflow.yaml, streams/, metrics/, dashboards/.
func Files() fs.FS {
	root, err := fs.Sub(files, "files")
	if err != nil {
		return files // "files" is a valid path: never
	}
	return root
}

// Row is an event of the demonstration.
type Row struct {
	Index  int64          // what links a pin, its place and its user
	Fields map[string]any // int64, float64 or string
	JSON   []byte         // the fields as the public emulation scripts send them
}

// Demo returns the rows of the demonstration by stream: pin, geo, user.
func Demo() (map[string][]Row, error) {
	out := map[string][]Row{}
	for _, stream := range []string{"pin", "geo", "user"} {
		rows, err := readRows(stream)
		if err != nil {
			return nil, fmt.Errorf("reading the demonstration's %s rows: %w", stream, err)
		}
		out[stream] = rows
	}
	return out, nil
}

// integers and floats are the columns that the scripts send as numbers.
var (
	integers = []string{"index", "ind", "age", "downloaded"}
	floats   = []string{"latitude", "longitude"}
)

func readRows(stream string) ([]Row, error) {
	text, err := demo.ReadFile("demo/" + stream + ".csv")
	if err != nil {
		return nil, err
	}
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, len(lines)-1)
	for n, line := range lines[1:] {
		row := Row{Fields: make(map[string]any, len(line))}
		for i, name := range lines[0] {
			if row.Fields[name], err = typed(name, line[i]); err != nil {
				return nil, fmt.Errorf("row %d: %w", n+1, err)
			}
		}
		for _, name := range []string{"index", "ind"} {
			if i, ok := row.Fields[name].(int64); ok {
				row.Index = i
			}
		}
		if row.JSON, err = encode(row.Fields); err != nil {
			return nil, fmt.Errorf("row %d: %w", n+1, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func typed(name, text string) (any, error) {
	switch {
	case slices.Contains(integers, name):
		return strconv.ParseInt(text, 10, 64)
	case slices.Contains(floats, name):
		return strconv.ParseFloat(text, 64)
	}
	return text, nil
}

func encode(fields map[string]any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
