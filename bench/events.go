package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/pinflow/pinflow/internal/project"
)

// template is a real pin of the demonstration whose id and time are patched in place.
type template []byte

const (
	idDigits   = 16
	timeLayout = "2006-01-02T15:04:05.000000Z"
	head       = `{"event_id":"bench-0000000000000000","event_time":"2006-01-02T15:04:05.000000Z","user_id":17,`
	idAt       = len(`{"event_id":"bench-`)
	timeAt     = idAt + idDigits + len(`","event_time":"`)
)

// pins are the demonstration's pins with their countries, as the emulation sends them.
func pins() ([]template, error) {
	demo, err := project.Demo()
	if err != nil {
		return nil, fmt.Errorf("reading the demonstration: %w", err)
	}
	var out []template
	for i, row := range demo["pin"] {
		row.Fields["country"] = demo["geo"][i].Fields["country"]
		text, err := json.Marshal(row.Fields)
		if err != nil {
			return nil, err
		}
		out = append(out, append(template(head), text[1:]...))
	}
	return out, nil
}

// patch sets id and time of an event that begins at b[0].
func patch(b []byte, id uint64, moment string) {
	for i := idAt + idDigits - 1; i >= idAt; i-- {
		b[i] = "0123456789abcdef"[id&15]
		id >>= 4
	}
	copy(b[timeAt:], moment)
}

func moment(t time.Time) string { return t.UTC().Format(timeLayout) }
