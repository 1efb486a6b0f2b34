package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/trace"
)

func (c *cli) whereCommand() *cobra.Command {
	at := ""
	cmd := &cobra.Command{
		Use:   "where EVENT_ID | --at TOPIC/PARTITION/OFFSET",
		Short: "Find one event: in the log, the lake, the dead letters, and where it counts or why not",
		Long: `Find the records of an event: each is a row of the lake, a dead letter, a duplicate of an earlier record, or in flight
between log and lake. Of a row it says which buckets of which views it counts in, or why not. Exit code 1 when
there is none; where was looked is then said on stderr.`,
		Example: "  pinflow where 018f5a6e-0000-7000-8000-000000000001\n  pinflow where --at pin/0/1234 -o json",
		Args: func(cmd *cobra.Command, args []string) error {
			if at != "" {
				return arguments()(cmd, args)
			}
			return arguments("EVENT_ID")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if at == "" {
				if args[0] == "" {
					return usage(cmd, "EVENT_ID is empty")
				}
				return c.where(cmd, "/v1/events/"+url.PathEscape(args[0])+"/trace")
			}
			parts := strings.Split(at, "/")
			if len(parts) != 3 || parts[0] == "" {
				return usage(cmd, "--at %q is no position: write it like pin/0/1234", at)
			}
			for i, p := range parts {
				parts[i] = url.PathEscape(p)
			}
			return c.where(cmd, "/v1/records/"+strings.Join(parts, "/")+"/trace")
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "the event whose record lies at this position of the log, like pin/0/1234")
	return cmd
}

func (c *cli) where(cmd *cobra.Command, path string) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	var t trace.Trace
	if err := server.Get(cmd.Context(), path, nil, &t); err != nil {
		return err
	}
	if c.output == asJSON {
		err = c.printJSON(t)
	} else {
		err = c.print(c.records(&t))
	}
	if err != nil {
		return err
	}
	opened, read := 0, 0
	for _, table := range t.Searched.Tables {
		opened, read = opened+table.Opened, read+table.Read
	}
	c.say("%s: %s; looked in %s (%s asked, %d read) and in %s of the log", t.ID, plural(len(t.Records), "record"),
		plural(len(t.Searched.Tables), "table"), plural(opened, "file"), read, plural(len(t.Searched.Logs), "part"))
	for _, l := range t.Searched.Logs {
		if l.Note != "" {
			c.say("%s/%d: %s", l.Topic, l.Partition, l.Note)
		}
	}
	if len(t.Records) == 0 {
		return fault.New(fault.Unknown, "unknown_event", "no event %s was found", t.ID).
			WithAdvice("compare the id with the answer to its post; what was refused is stored nowhere")
	}
	return nil
}

// records is a line a record.
func (c *cli) records(t *trace.Trace) sheet {
	s := sheet{columns: []string{"is", "at", "received", "live", "counts_in", "file"}}
	for _, r := range t.Records {
		topic := r.Topic
		if topic == "" {
			topic = fmt.Sprintf("log %d", r.Log)
		}
		is := strings.ReplaceAll(r.As, "_", " ")
		if r.Staged {
			is += ", staged"
		}
		row := []any{is, fmt.Sprintf("%s/%d/%d", topic, r.Partition, r.Offset), r.ReceivedAt.In(c.zone()).Format(time.RFC3339Nano), nil, countsIn(r), nil}
		if r.Live != nil {
			row[3] = map[bool]string{true: "read", false: "not yet"}[r.Live.Read]
		}
		if r.Lake != nil {
			row[5] = r.Lake.File
		}
		s.rows = append(s.rows, row)
	}
	return s
}

// countsIn says in which buckets a record counts, or why it does not.
func countsIn(r trace.Record) string {
	if r.Dead != nil {
		return strings.TrimSpace("nowhere: " + r.Dead.Code + " " + r.Dead.Message)
	}
	if r.As == trace.Duplicate {
		return "nowhere: it repeats an earlier record"
	}
	var parts []string
	for _, v := range r.Views {
		if !v.Counted {
			parts = append(parts, "not "+v.View+": "+v.Why)
			continue
		}
		for _, b := range v.Buckets {
			parts = append(parts, v.View+" "+b.Format("2006-01-02T15:04Z07:00"))
		}
	}
	return strings.Join(parts, "; ")
}
