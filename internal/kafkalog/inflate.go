package kafkalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"

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
		return inflateSnappy(nil, src, most)
	case kgo.CodecGzip:
		r, err := gzip.NewReader(bytes.NewReader(src))
		if err != nil {
			return nil, err
		}
		return readAtMost(nil, r, most)
	case kgo.CodecLz4:
		return readAtMost(nil, lz4.NewReader(bytes.NewReader(src)), most)
	case kgo.CodecZstd:
		r, err := zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(uint64(most)))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readAtMost(nil, r, most)
	}
	return nil, errCodec
}

// xerial is the framing of snappy that the Java client writes: this, two versions of four bytes, then
// blocks with their size before them.
const xerial = "\x82SNAPPY\x00"

// inflateSnappy appends to dst, which is empty.
func inflateSnappy(dst, src []byte, most int) ([]byte, error) {
	if len(src) <= 16 || string(src[:8]) != xerial {
		return inflateBlock(dst, src, most)
	}
	for src = src[16:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := int64(binary.BigEndian.Uint32(src))
		if n > int64(len(src)-4) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if dst, err = inflateBlock(dst, src[4:4+n], most); err != nil {
			return nil, err
		}
		src = src[4+n:]
	}
	return dst, nil
}

// inflateBlock appends a block to dst, in place.
func inflateBlock(dst, block []byte, most int) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	at := len(dst)
	if n > most-at {
		return nil, errInflated
	}
	dst = slices.Grow(dst, n)[:at+n]
	_, err = s2.Decode(dst[at:], block)
	return dst, err
}
