package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/client"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
)

func (c *cli) sendCommand() *cobra.Command {
	patience := "1m"
	cmd := &cobra.Command{
		Use:   "send STREAM FILE|-",
		Short: "Send events from a file: JSON Lines, one object, or an array",
		Long: `Send events from a file, or from stdin for "-"; what is packed with gzip or zstd is unpacked. Every event that
was not taken is listed on stdout with its number in the file (from 0), its id and the reason; the sums go to
stderr. What a busy server did not store, or did not answer for, is sent again under the same ids, so that it
counts once. Exit code 1 when an event was refused or could not be stored.`,
		Args: arguments("STREAM", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s := &sender{stream: args[0], run: rand.Text(), pause: time.Second}
			if patience != "0" {
				var err error
				if s.patience, err = config.ParseDuration(patience); err != nil || s.patience < 0 {
					return usage(cmd, "--retry cannot be %q: write it like 30s or 5m, or 0", patience)
				}
			}
			in := c.stdin
			if args[1] != "-" {
				f, err := os.Open(args[1])
				if err != nil {
					return usage(cmd, "%w", err)
				}
				defer f.Close()
				in = f
			}
			return c.send(cmd.Context(), s, in)
		},
	}
	cmd.Flags().StringVar(&patience, "retry", patience, "how long events are sent again while the server does not store them; 0: once only")
	return cmd
}

// Bounds of one request: well below the server's default limits.
const (
	sendEvents = 500
	sendBytes  = 4 << 20
)

func (c *cli) send(ctx context.Context, s *sender, in io.Reader) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	s.server = server
	failed := s.all(ctx, in)
	if failed != nil && s.sent == 0 {
		return failed
	}
	if len(s.results.rows) > 0 || c.output != asTable {
		s.results.columns = []string{"index", "id", "status", "code", "path", "message"}
		s.results.right = []bool{true}
		if err := c.print(s.results); err != nil {
			return errors.Join(failed, err)
		}
	}
	c.say("%d accepted, %d dead-lettered, %d rejected, %d to be sent again", s.sum.Accepted, s.sum.DeadLettered, s.sum.Rejected, s.sum.Retry)
	if failed != nil {
		return fmt.Errorf("after %s: %w", plural(s.sent, "event"), failed)
	}
	if n := s.sum.Rejected + s.sum.Retry; n > 0 {
		return fault.New(fault.Record, "not_stored", "%s not stored", plural(n, "event"))
	}
	return nil
}

// sender posts events in batches and adds the answers up.
type sender struct {
	server   *client.Client
	stream   string
	run      string // begins the idempotency keys
	patience time.Duration
	pause    time.Duration // before a request is sent again
	answered bool          // the server is there
	batches  int
	sent     int
	sum      client.Sent
	results  sheet
}

func (s *sender) all(ctx context.Context, in io.Reader) error {
	events, err := readEvents(in)
	if err != nil {
		return err
	}
	var batch [][]byte
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		s.batches++
		err := s.post(ctx, batch, fmt.Sprintf("%s-%d", s.run, s.batches))
		batch, size = batch[:0], 0
		return err
	}
	for {
		event, err := events()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		if len(batch) == sendEvents || size+len(event) > sendBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size = append(batch, event), size+len(event)
	}
}

// post sends events until each has a fate, or patience ends.
func (s *sender) post(ctx context.Context, events [][]byte, key string) error {
	body := append(bytes.Join(events, []byte{'\n'}), '\n')
	fates := make([]*client.SentResult, len(events)) // nil: accepted
	asked, until := false, time.Now().Add(s.patience)
	for {
		got, err := s.server.Send(ctx, s.stream, "application/x-ndjson", key, body)
		var pause time.Duration
		switch {
		case err == nil:
			s.answered = true
			if pause = settle(fates, got, asked); pause == 0 {
				return s.add(fates)
			}
			asked = true
		case fault.CodeOf(err) == "body_too_large" && len(events) > 1:
			half := len(events) / 2
			if err := s.post(ctx, events[:half], key+"a"); err != nil {
				return err
			}
			return s.post(ctx, events[half:], key+"b")
		case len(events) == 1 && tooLarge(err): // the others may fit
			fates[0] = &client.SentResult{Status: "rejected", Code: fault.CodeOf(err), Message: message(err)}
			return s.add(fates)
		case !again(err) || !s.answered && nobody(err):
			return err
		default:
			pause = s.pause
		}
		if time.Now().Add(pause).After(until) {
			if !asked {
				return err
			}
			if err := s.add(fates); err != nil {
				return err
			}
			return fault.New(fault.Transient, "not_stored", "%s not stored", plural(s.sum.Retry, "event")).
				WithAdvice("send those of status retry again, and all that follow in the file")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// settle notes the fates in an answer and returns how long to wait before the events without one are
// sent again, 0 if there are none. The first answer tells of all events; what a later one says of those
// that have a fate already is only that they came twice.
func settle(fates []*client.SentResult, got *client.Sent, asked bool) (pause time.Duration) {
	told := map[int]*client.SentResult{}
	for i := range got.Results {
		told[got.Results[i].Index] = &got.Results[i]
	}
	for i, f := range fates {
		if asked && (f == nil || f.Status != "retry") {
			continue
		}
		fates[i] = told[i]
		if f := fates[i]; f != nil && f.Status == "retry" {
			pause = max(pause, time.Duration(f.RetryAfterMS)*time.Millisecond, time.Millisecond)
		}
	}
	return pause
}

func tooLarge(err error) bool {
	code := fault.CodeOf(err)
	return code == "event_too_large" || code == "body_too_large"
}

// nobody tells that no connection was made.
func nobody(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// again tells whether a request may be sent once more, under its key: it was not taken, or nobody knows.
func again(err error) bool {
	return fault.Is(err, fault.Transient) || fault.Is(err, fault.Ambiguous)
}

// add adds up the fates of a batch.
func (s *sender) add(fates []*client.SentResult) error {
	for i, f := range fates {
		if f == nil || f.Status == "accepted" {
			s.sum.Accepted++
			continue
		}
		switch f.Status {
		case "dead_lettered":
			s.sum.DeadLettered++
		case "rejected":
			s.sum.Rejected++
		case "retry":
			s.sum.Retry++
		default:
			return fault.New(fault.Ambiguous, "bad_answer", "event %d: the server calls it %q", s.sent+i, f.Status)
		}
		s.results.rows = append(s.results.rows, []any{s.sent + i, orNull(f.ID), f.Status, orNull(f.Code), orNull(f.Path), orNull(f.Message)})
	}
	s.sent += len(fates)
	return nil
}

// orNull is nil for a text that is not there.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
