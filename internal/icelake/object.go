package icelake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/minio/minio-go/v7"

	"github.com/pinflow/pinflow/internal/fault"
)

// found is a file that a listing shows.
type found struct {
	at       string // location
	modified time.Time
	bytes    int64
}

// object is an open object: its end is in memory, the rest is fetched as it is asked for.
type object struct {
	b        *bucket
	at, key  string
	size     int64
	modified time.Time
	tail     []byte // the last bytes
	ahead    []byte // what sequential reading has fetched, from aheadAt on
	aheadAt  int64
	pos      int64
	free     func([]byte) // takes the tail back; nil: nobody wants it
}

// readAhead is how much sequential reading fetches at once.
const readAhead = 1 << 20

func (o *object) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading %s at %d", o.at, off)
	}
	if off >= o.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), o.size-off)]
	if from := o.size - int64(len(o.tail)); off >= from {
		copy(want, o.tail[off-from:])
	} else if err := o.fetch(o.b.ctx, want, off); err != nil {
		return 0, err
	}
	if len(want) < len(p) {
		return len(want), io.EOF
	}
	return len(p), nil
}

// open fetches the last bytes of the object, at most most of them, into memory that buffer gives.
func (o *object) open(ctx context.Context, most int64, buffer func(n int64) []byte) (err error) {
	if o.key, err = o.b.key(o.at); err != nil {
		return err
	}
	return o.b.tryIn(ctx, "opening "+o.at, func(ctx context.Context) error {
		opts := minio.GetObjectOptions{}
		if err := opts.SetRange(0, -most); err != nil {
			return err
		}
		body, info, header, err := o.b.client.GetObject(ctx, o.b.name, o.key, opts)
		if said(err, "InvalidRange") { // an empty object has no end
			o.size, o.tail = 0, nil
			return nil
		}
		if err != nil {
			return err
		}
		defer body.Close()
		if info.Size < 0 || info.Size > most { // of a server that does not say, or knows no ranges
			o.tail, err = io.ReadAll(body)
		} else {
			if int64(cap(o.tail)) < info.Size {
				o.tail = buffer(info.Size)
			}
			o.tail = o.tail[:info.Size]
			_, err = io.ReadFull(body, o.tail)
		}
		if err != nil {
			return err
		}
		o.modified, o.size = info.LastModified, int64(len(o.tail))
		if _, total, ok := strings.Cut(header.Get("Content-Range"), "/"); ok {
			if _, err := fmt.Sscan(total, &o.size); err != nil {
				return fmt.Errorf("size of the object in %q: %w", header.Get("Content-Range"), err)
			}
		}
		return nil
	})
}

// fetch reads exactly len(p) bytes.
func (o *object) fetch(ctx context.Context, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	return o.b.tryIn(ctx, fmt.Sprintf("reading %d bytes of %s at %d", len(p), o.at, off), func(ctx context.Context) error {
		opts := minio.GetObjectOptions{}
		if off == 0 && len(p) == 1 {
			opts.Set("Range", "bytes=0-0")
		} else if err := opts.SetRange(off, off+int64(len(p))-1); err != nil {
			return err
		}
		body, _, header, err := o.b.client.GetObject(ctx, o.b.name, o.key, opts)
		if err != nil {
			return err
		}
		defer body.Close()
		if got := header.Get("Content-Range"); !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", off)) && (got != "" || off > 0) {
			return fault.New(fault.Transient, "s3_unavailable", "reading %d bytes of %s at %d: S3 sent %q instead", len(p), o.at, off, got)
		}
		_, err = io.ReadFull(body, p)
		return err
	})
}

func (o *object) Read(p []byte) (int, error) {
	if o.pos >= o.size {
		return 0, io.EOF
	}
	if len(p) >= readAhead || o.pos >= o.size-int64(len(o.tail)) {
		n, err := o.ReadAt(p, o.pos)
		o.pos += int64(n)
		if n > 0 {
			err = nil
		}
		return n, err
	}
	if o.pos < o.aheadAt || o.pos >= o.aheadAt+int64(len(o.ahead)) {
		buf := make([]byte, min(readAhead, o.size-o.pos))
		if err := o.fetch(o.b.ctx, buf, o.pos); err != nil {
			return 0, err
		}
		o.ahead, o.aheadAt = buf, o.pos
	}
	n := copy(p, o.ahead[o.pos-o.aheadAt:])
	o.pos += int64(n)
	return n, nil
}

func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.pos
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seeking in %s to %d", o.at, offset)
	}
	o.pos = offset
	return offset, nil
}

func (o *object) Stat() (fs.FileInfo, error) { return objectInfo{o}, nil }

func (o *object) Close() error {
	if o.free != nil && o.tail != nil {
		o.free(o.tail)
	}
	o.tail, o.ahead, o.size = nil, nil, 0
	return nil
}

type objectInfo struct{ o *object }

func (i objectInfo) Name() string       { return path.Base(i.o.key) }
func (i objectInfo) Size() int64        { return i.o.size }
func (i objectInfo) Mode() fs.FileMode  { return 0o444 }
func (i objectInfo) ModTime() time.Time { return i.o.modified }
func (i objectInfo) IsDir() bool        { return false }
func (i objectInfo) Sys() any           { return nil }

// markName is the user metadata by which a writer knows its own object again.
const markName = "Pinflow-Write"

// objectWriter sends a file in one request, or in parts of partSize when it is larger.
type objectWriter struct {
	b       *bucket
	at, key string
	buf     []byte
	mark    string
	upload  string // of a file in parts
	parts   []minio.CompletePart
	err     error
	closed  bool
}

// Write takes bytes; the first failure is repeated by everything after it.
func (w *objectWriter) Write(p []byte) (int, error) {
	if w.err != nil || w.closed {
		return 0, errors.Join(w.err, closedTwice(w.closed))
	}
	n := len(p)
	for len(w.buf)+len(p) > partSize {
		fits := partSize - len(w.buf)
		w.buf = append(w.buf, p[:fits]...)
		p = p[fits:]
		if w.err = w.sendPart(); w.err != nil {
			return 0, w.err
		}
	}
	w.buf = append(w.buf, p...)
	return n, nil
}

func closedTwice(closed bool) error {
	if closed {
		return fs.ErrClosed
	}
	return nil
}

func (w *objectWriter) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, r)
}

// Close makes the file appear, whole. A writer that failed leaves nothing.
func (w *objectWriter) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	if w.err == nil {
		w.err = w.finish()
	}
	if w.err != nil && w.upload != "" {
		ctx, cancel := context.WithTimeout(w.b.ctx, w.b.pace.attempt)
		defer cancel()
		if err := w.b.client.AbortMultipartUpload(ctx, w.b.name, w.key, w.upload); err != nil {
			w.b.log.Info("left the parts of an upload that failed", "location", w.at, "error", err)
		}
	}
	w.buf = nil
	return w.err
}

func (w *objectWriter) finish() error {
	if w.upload == "" {
		return w.put()
	}
	if len(w.buf) > 0 {
		if err := w.sendPart(); err != nil {
			return err
		}
	}
	return w.publish("completing "+w.at, func(ctx context.Context, opts minio.PutObjectOptions) error {
		opts.UserMetadata = nil // it came with the beginning
		_, err := w.b.client.CompleteMultipartUpload(ctx, w.b.name, w.key, w.upload, w.parts, opts)
		if said(err, "NoSuchUpload") { // an earlier try of ours was taken, or there is nothing
			return w.ours(ctx, err)
		}
		return err
	})
}

func (w *objectWriter) put() error {
	digest := sum(w.buf)
	return w.publish("writing "+w.at, func(ctx context.Context, opts minio.PutObjectOptions) error {
		_, err := w.b.client.PutObject(ctx, w.b.name, w.key, bytes.NewReader(w.buf), int64(len(w.buf)), "", digest, opts)
		return err
	})
}

// publish runs the request that makes the object appear, under the condition that its key is new.
func (w *objectWriter) publish(doing string, do func(context.Context, minio.PutObjectOptions) error) error {
	return w.b.try(doing, func(ctx context.Context) error {
		opts := w.options()
		conditional := !w.b.plain.Load()
		if conditional {
			opts.SetMatchETagExcept("*")
		}
		err := do(ctx, opts)
		switch {
		case said(err, "PreconditionFailed"):
			return w.ours(ctx, fmt.Errorf("%s: %w", doing, fs.ErrExist))
		case conditional && said(err, "NotImplemented"):
			w.b.plain.Store(true)
			return do(ctx, w.options())
		}
		return err
	})
}

func (w *objectWriter) options() minio.PutObjectOptions {
	if w.mark == "" {
		w.mark = uuid.NewString()
	}
	return minio.PutObjectOptions{UserMetadata: map[string]string{markName: w.mark}, ContentType: "application/octet-stream"}
}

// ours returns nil if the object at the key is the one that this writer sent, else otherwise.
func (w *objectWriter) ours(ctx context.Context, otherwise error) error {
	info, err := w.b.client.StatObject(ctx, w.b.name, w.key, minio.StatObjectOptions{})
	if said(err, "NoSuchKey") {
		return otherwise
	}
	if err != nil {
		return err
	}
	if info.UserMetadata[markName] == w.mark {
		return nil
	}
	return otherwise
}

// sendPart sends what is held as the next part. Sending it again replaces it.
func (w *objectWriter) sendPart() error {
	if w.upload == "" {
		err := w.b.try("beginning "+w.at, func(ctx context.Context) (err error) {
			w.upload, err = w.b.client.NewMultipartUpload(ctx, w.b.name, w.key, w.options())
			return err
		})
		if err != nil {
			return err
		}
	}
	n, digest := len(w.parts)+1, sum(w.buf)
	err := w.b.try(fmt.Sprintf("writing part %d of %s", n, w.at), func(ctx context.Context) error {
		part, err := w.b.client.PutObjectPart(ctx, w.b.name, w.key, w.upload, n, bytes.NewReader(w.buf), int64(len(w.buf)),
			minio.PutObjectPartOptions{Sha256Hex: digest})
		if err == nil {
			w.parts = append(w.parts[:n-1], minio.CompletePart{PartNumber: n, ETag: part.ETag})
		}
		return err
	})
	w.buf = w.buf[:0]
	return err
}
