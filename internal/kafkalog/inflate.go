package kafkalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

var errInflated = errors.New("the records are too large when decompressed")

// inflate decompresses the records of a batch into at most most bytes. The client library's own
// decompressor has no bound of use here: eight megabytes may claim two gigabytes.
func inflate(src []byte, codec kgo.CompressionCodecType, most int) ([]byte, error) {
	switch codec {
	case kgo.CodecSnappy:
		return inflateSnappy(src, most)
	case kgo.CodecGzip:
		r, err := gzip.NewReader(bytes.NewReader(src))
		if err != nil {
			return nil, err
		}
		return readAtMost(r, most)
	case kgo.CodecLz4:
		return readAtMost(lz4.NewReader(bytes.NewReader(src)), most)
	case kgo.CodecZstd:
		r, err := zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(uint64(most)))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readAtMost(r, most)
	}
	return nil, errors.New("unknown compression")
}

func readAtMost(r io.Reader, most int) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	if err == nil && len(out) > most {
		err = errInflated
	}
	return out, err
}

// xerial is the framing of snappy that the Java client writes: this, two versions of four bytes, then
// blocks with their size before them.
const xerial = "\x82SNAPPY\x00"

func inflateSnappy(src []byte, most int) ([]byte, error) {
	if len(src) <= 16 || string(src[:8]) != xerial {
		return inflateBlock(nil, src, most)
	}
	var out []byte
	for src = src[16:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := int64(binary.BigEndian.Uint32(src))
		if n > int64(len(src)-4) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if out, err = inflateBlock(out, src[4:4+n], most); err != nil {
			return nil, err
		}
		src = src[4+n:]
	}
	return out, nil
}

func inflateBlock(out, block []byte, most int) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	if n > most-len(out) {
		return nil, errInflated
	}
	part, err := s2.Decode(nil, block)
	return append(out, part...), err
}
