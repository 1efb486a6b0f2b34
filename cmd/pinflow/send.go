package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/client"
	"github.com/pinflow/pinflow/internal/fault"
)

func (c *cli) sendCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "send STREAM FILE|-",
		Short: "Send events from a file: JSON Lines, one object, or an array",
		Long: `Send events from a file, or from stdin for "-". Every event that was not taken is listed on stdout
with its number in the file (from 0), its id and the reason; the sums go to stderr. Exit code 1 when an
event was refused or has to be sent again.`,
		Args: arguments("STREAM", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := c.stdin
			if args[1] != "-" {
				f, err := os.Open(args[1])
				if err != nil {
					return usage(cmd, "%w", err)
				}
				defer f.Close()
				in = f
			}
			return c.send(cmd.Context(), args[0], in)
		},
	}
}

// Bounds of one request: well below the server's default limits.
const (
	sendEvents = 500
	sendBytes  = 4 << 20
)

func (c *cli) send(ctx context.Context, stream string, in io.Reader) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	s := &sender{server: server, stream: stream}
	if err := s.all(ctx, in); err != nil {
		return err
	}
	if len(s.results.rows) > 0 || c.output != asTable {
		s.results.columns = []string{"index", "id", "status", "code", "path", "message"}
		s.results.right = []bool{true}
		if err := c.print(s.results); err != nil {
			return err
		}
	}
	c.say("%d accepted, %d dead-lettered, %d rejected, %d to be sent again", s.sum.Accepted, s.sum.DeadLettered, s.sum.Rejected, s.sum.Retry)
	if n := s.sum.Rejected + s.sum.Retry; n > 0 {
		return fault.New(fault.Record, "not_stored", "%s not stored", plural(n, "event"))
	}
	return nil
}

// sender posts lines in batches and adds the answers up.
type sender struct {
	server  *client.Client
	stream  string
	sent    int
	sum     client.Sent
	results sheet
}

func (s *sender) all(ctx context.Context, in io.Reader) error {
	r := bufio.NewReaderSize(in, 1<<20)
	if first, err := firstByte(r); err == nil && first == '[' {
		body, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("reading events: %w", err)
		}
		return s.post(ctx, "application/json", body, 0)
	}
	var batch bytes.Buffer
	n := 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		err := s.post(ctx, "application/x-ndjson", batch.Bytes(), n)
		batch.Reset()
		n = 0
		return err
	}
	for {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading events: %w", err)
		}
		end := err != nil
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if n > 0 && (n >= sendEvents || batch.Len()+len(line) > sendBytes) {
				if err := flush(); err != nil {
					return err
				}
			}
			batch.Write(line)
			batch.WriteByte('\n')
			n++
		}
		if end {
			return flush()
		}
	}
}

// firstByte looks at the first byte that is no white space.
func firstByte(r *bufio.Reader) (byte, error) {
	for {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		switch b {
		case ' ', '\t', '\r', '\n':
			continue
		}
		return b, r.UnreadByte()
	}
}

func (s *sender) post(ctx context.Context, contentType string, body []byte, n int) error {
	got, err := s.server.Send(ctx, s.stream, contentType, body)
	if err != nil {
		if s.sent > 0 {
			return fmt.Errorf("after %s: %w", plural(s.sent, "event"), err)
		}
		return err
	}
	s.sum.Accepted += got.Accepted
	s.sum.DeadLettered += got.DeadLettered
	s.sum.Rejected += got.Rejected
	s.sum.Retry += got.Retry
	for _, r := range got.Results {
		if r.Status != "accepted" {
			s.results.rows = append(s.results.rows, []any{s.sent + r.Index, orNull(r.ID), r.Status, orNull(r.Code), orNull(r.Path), orNull(r.Message)})
		}
	}
	s.sent += n
	return nil
}

// orNull is nil for a text that is not there.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
