package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/client"
	"github.com/pinflow/pinflow/internal/fault"
)

func (c *cli) tailCommand() *cobra.Command {
	t := &tailing{}
	cmd := &cobra.Command{
		Use:   "tail STREAM",
		Short: "Watch a stream: what comes to it from now on, dead letters too",
		Long: `Watch a stream: each event that comes to it from now on, until Ctrl-C. A line has the time it was received, its
partition and offset, its id and the event; a dead letter also why it is one. -o ndjson has all of it as JSON. When
more comes than is shown, that is said on stderr, each second.`,
		Example: "  pinflow tail pin\n  pinflow tail pin --contains travel -n 10 -o ndjson | jq .event.category",
		Args:    arguments("STREAM"),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.tail(cmd, args[0], t) },
	}
	cmd.Flags().IntVarP(&t.most, "number", "n", 0, "stop after so many events (default: never)")
	cmd.Flags().IntVar(&t.rate, "rate", 50, "most events shown a second")
	cmd.Flags().StringVar(&t.contains, "contains", "", "only events whose JSON contains this text, in any case")
	return cmd
}

type tailing struct {
	most, rate int
	contains   string
	seen       int
}

// tailed is an event as the server shows it.
type tailed struct {
	Partition  int32           `json:"partition"`
	Offset     int64           `json:"offset"`
	ID         string          `json:"id"`
	ReceivedAt time.Time       `json:"received_at"`
	Event      json.RawMessage `json:"event"`
	Text       string          `json:"text"`
	Dead       *struct {
		Code    string `json:"code"`
		Path    string `json:"path"`
		Message string `json:"message"`
	} `json:"dead_lettered"`
}

// errEnough ends a tail that has shown what was asked for.
var errEnough = errors.New("enough")

func (c *cli) tail(cmd *cobra.Command, stream string, t *tailing) error {
	if t.most < 0 || t.rate < 1 {
		return usage(cmd, "--number and --rate count events: they cannot be negative or 0")
	}
	if c.output == asCSV {
		return usage(cmd, "tail writes lines for people, or -o ndjson")
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	q := url.Values{"rate": {strconv.Itoa(t.rate)}}
	if t.contains != "" {
		q.Set("contains", t.contains)
	}
	err = server.Stream(cmd.Context(), "/v1/streams/"+url.PathEscape(stream)+"/tail", q, func(ev client.Event) error { return c.tailed(t, ev) })
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err == nil && cmd.Context().Err() == nil:
		return fault.New(fault.Transient, "unreachable", "%s ended the tail", server.URL()).WithAdvice("start it again").WithExit(fault.ExitUnreachable)
	case err == nil:
		return context.Canceled
	}
	return err
}

func (c *cli) tailed(t *tailing, ev client.Event) error {
	switch ev.Name {
	case "open":
		c.say("watching; stop with Ctrl-C")
	case "sampled":
		var s struct{ Shown, Of int }
		if json.Unmarshal([]byte(ev.Data), &s) == nil {
			c.say("a sample: %d of %d events of this second are shown", s.Shown, s.Of)
		}
	case "event":
		if err := c.tailedLine(ev.Data); err != nil {
			return err
		}
		if t.seen++; t.seen == t.most {
			return errEnough
		}
	}
	return nil
}

func (c *cli) tailedLine(data string) error {
	if c.output != asTable {
		_, err := fmt.Fprintln(c.stdout, data)
		return err
	}
	var e tailed
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return fault.New(fault.Unknown, "bad_answer", "reading an event of the tail: %w", err)
	}
	text := string(e.Event)
	if text == "" {
		text = e.Text
	}
	where := fmt.Sprintf("%d@%d", e.Partition, e.Offset)
	if e.Dead != nil {
		where = "dead " + strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Dead.Code, e.Dead.Path, e.Dead.Message))
	}
	_, err := fmt.Fprintf(c.stdout, "%s  %s  %s  %s\n", e.ReceivedAt.In(c.zone()).Format("15:04:05.000"), where, printable(e.ID), printable(text))
	return err
}
