package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pinflow/pinflow/internal/fault"
)

// readEvents finds the events of a file, one after another until io.EOF, each on one line: those of JSON
// Lines, of an array, or one object over several lines; packed with gzip or zstd, or not. A line need
// not be JSON: the server says what is wrong with it.
func readEvents(in io.Reader) (next func() ([]byte, error), err error) {
	r, err := unpacked(in)
	if err != nil {
		return nil, err
	}
	first, err := firstByte(r)
	switch {
	case errors.Is(err, io.EOF):
		return func() ([]byte, error) { return nil, io.EOF }, nil
	case err != nil:
		return nil, fmt.Errorf("reading events: %w", err)
	case first == '[':
		return elements(r)
	case first == '{':
		return objects(r)
	}
	return lines(r), nil
}

// unpacked undoes the packing that the first bytes tell of, and takes off a byte order mark.
func unpacked(in io.Reader) (*bufio.Reader, error) {
	r := bufio.NewReaderSize(in, 1<<20)
	magic, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	var plain io.Reader
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		plain, err = gzip.NewReader(r)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		plain, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	default:
		plain, err = r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("unpacking events: %w", err)
	}
	if plain != io.Reader(r) {
		r = bufio.NewReaderSize(plain, 1<<20)
	}
	if mark, _ := r.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, err = r.Discard(3)
	}
	return r, err
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

// elements reads a whole array.
func elements(r io.Reader) (func() ([]byte, error), error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		at := ""
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			at = fmt.Sprintf("byte %d: ", syntax.Offset)
		}
		return nil, fault.New(fault.Record, "malformed_body", "%sthe array is not JSON: %w; nothing was sent", at, err).
			WithAdvice("in JSON Lines, an object a line, one that is broken is refused alone")
	}
	return func() ([]byte, error) {
		if len(list) == 0 {
			return nil, io.EOF
		}
		event := list[0]
		list = list[1:]
		return compacted(event)
	}, nil
}

// oneObject bounds what is read to see whether a file is one object over several lines.
const oneObject = 16 << 20

// objects reads one object over several lines, or an object a line.
func objects(r *bufio.Reader) (func() ([]byte, error), error) {
	line, err := r.ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	if err != nil || json.Valid(line) {
		return lines(bufio.NewReaderSize(io.MultiReader(bytes.NewReader(line), r), 1<<20)), nil
	}
	text, err := io.ReadAll(io.MultiReader(bytes.NewReader(line), io.LimitReader(r, oneObject)))
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	if !json.Valid(text) {
		return lines(bufio.NewReaderSize(io.MultiReader(bytes.NewReader(text), r), 1<<20)), nil
	}
	sent := false
	return func() ([]byte, error) {
		if sent {
			return nil, io.EOF
		}
		sent = true
		return compacted(text)
	}, nil
}

func compacted(event []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := json.Compact(&out, event); err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return out.Bytes(), nil
}

// lines reads an event a line; empty ones are none.
func lines(r *bufio.Reader) func() ([]byte, error) {
	return func() ([]byte, error) {
		for {
			line, err := r.ReadBytes('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("reading events: %w", err)
			}
			if line = bytes.TrimSpace(line); len(line) > 0 {
				return line, nil
			}
			if err != nil {
				return nil, io.EOF
			}
		}
	}
}
