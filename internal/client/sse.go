package client

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Event is one message of the server's event stream.
type Event struct {
	Name string // "message" when the server gave none
	ID   string
	Data string
}

// Stream reads server-sent events until ctx ends, the server closes or fn fails.
func (c *Client) Stream(ctx context.Context, path string, q url.Values, fn func(Event) error) error {
	resp, err := c.do(ctx, http.MethodGet, path, q, nil, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c.refusal(resp)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), 16<<20)
	ev, data := Event{Name: "message"}, []string(nil)
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			if data != nil {
				ev.Data = strings.Join(data, "\n")
				if err := fn(ev); err != nil {
					return err
				}
			}
			ev, data = Event{Name: "message", ID: ev.ID}, nil
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			ev.Name = value
		case "id":
			ev.ID = value
		case "data":
			data = append(data, value)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the event stream of %s: %w", c.URL(), err)
	}
	return nil
}
