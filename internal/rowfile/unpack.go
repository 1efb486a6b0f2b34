package rowfile

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/pinflow/pinflow/internal/fault"
)

// maxWindow is how much memory a zstd file may ask for: what `zstd --long=27` makes.
const maxWindow = 128 << 20

// unpacked is what is in a file.
type unpacked struct {
	io.Reader
	closers []func() error
}

func (u *unpacked) Close() error {
	var errs []error
	for i := range u.closers {
		errs = append(errs, u.closers[len(u.closers)-1-i]())
	}
	return errors.Join(errs...)
}

// unpack opens a file and undoes the compression that its first bytes tell of.
func unpack(path string) (_ *unpacked, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.Config, "no_file", "%w", err).WithExit(fault.ExitFailed)
	}
	u := &unpacked{closers: []func() error{f.Close}}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Close())
		}
	}()
	in := bufio.NewReaderSize(f, 1<<20)
	u.Reader = in
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, bad(path, 0, "cannot be read: %w", err)
	}
	begins := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case begins("\x1f\x8b"):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, bad(path, 0, "is a damaged gzip file: %w", err)
		}
		u.Reader, u.closers = z, append(u.closers, z.Close)
	case begins("\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, bad(path, 0, "is a damaged zstd file: %w", err)
		}
		u.Reader, u.closers = z, append(u.closers, func() error { z.Close(); return nil })
	case begins("BZh"):
		u.Reader = bzip2.NewReader(in)
	case begins("\x04\x22\x4d\x18"):
		u.Reader = lz4.NewReader(in)
	case begins("\xfd7zXZ\x00"), begins("PK\x03\x04"):
		return nil, bad(path, 0, "is an xz or zip file").WithAdvice("unpack it first; gzip, zstd, bzip2 and lz4 are read as they are")
	}
	return u, nil
}
