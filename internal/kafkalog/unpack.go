package kafkalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// unpacker decompresses the batches that a consumer fetches into memory of the pool. The client library's own
// copies each batch in LZ4 through memory of its own and sums it up a second time, though the batch's
// checksum, which the client has compared, is over these very bytes; that took a twentieth of the time of a
// unit that reads. Like Kafka's own consumer this one leaves the sum of the content alone.
type unpacker struct {
	spare *pool
	most  int // bytes that a batch may unpack to
	gzip  sync.Pool
	zstd  sync.Pool
}

var _ kgo.Decompressor = (*unpacker)(nil)

func newUnpacker(spare *pool, most int) *unpacker { return &unpacker{spare: spare, most: most} }

// Decompress is kgo.Decompressor's.
func (u *unpacker) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec == kgo.CodecNone {
		return src, nil
	}
	dst := u.spare.GetDecompressBytes(src, codec)
	out, err := u.unpack(dst, src, codec)
	if err != nil {
		u.spare.PutDecompressBytes(dst)
		if errors.Is(err, errInflated) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			err = fmt.Errorf("%w: %w", kgo.ErrMaxDecompress, err)
		}
		return nil, err
	}
	return out, nil
}

// unpack appends to dst, which is empty.
func (u *unpacker) unpack(dst, src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	switch codec {
	case kgo.CodecSnappy:
		return inflateSnappy(dst, src, u.most)
	case kgo.CodecGzip:
		r, ok := u.gzip.Get().(*gzip.Reader)
		if !ok {
			r = new(gzip.Reader)
		}
		defer u.gzip.Put(r)
		if err := r.Reset(bytes.NewReader(src)); err != nil {
			return nil, err
		}
		return readAtMost(dst, r, u.most)
	case kgo.CodecLz4:
		if out, ok, err := appendFrame(dst, src, u.most); ok || err != nil {
			return out, err
		}
		return readAtMost(dst, lz4.NewReader(bytes.NewReader(src)), u.most)
	case kgo.CodecZstd:
		d, err := u.decoder()
		if err != nil {
			return nil, err
		}
		defer u.zstd.Put(d)
		return d.DecodeAll(src, dst)
	}
	return nil, errCodec
}

func (u *unpacker) decoder() (*zstdDecoder, error) {
	if d, ok := u.zstd.Get().(*zstdDecoder); ok {
		return d, nil
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(uint64(u.most)))
	if err != nil {
		return nil, err
	}
	d := &zstdDecoder{r}
	runtime.AddCleanup(d, func(r *zstd.Decoder) { r.Close() }, r)
	return d, nil
}

// zstdDecoder is closed when a pool has let go of it.
type zstdDecoder struct{ *zstd.Decoder }

// Of an LZ4 frame (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md).
const (
	frameMagic    = 0x184D2204
	frameVersion  = 1 << 6
	framePlain    = frameVersion | 1<<5 // its blocks stand alone
	frameBlockSum = 1 << 4
	frameSize     = 1 << 3
	frameSum      = 1 << 2
	blockPlain    = 1 << 31
)

// appendFrame appends the content of a frame of LZ4, block by block where it belongs. ok false: it is none of the
// ordinary form (one frame of blocks that stand alone), or is damaged: the library's reader decides.
func appendFrame(dst, src []byte, most int) (out []byte, ok bool, err error) {
	if len(src) < 7 || binary.LittleEndian.Uint32(src) != frameMagic {
		return dst, false, nil
	}
	flags, size, head := src[4], src[5]>>4, 7
	if flags&^(frameBlockSum|frameSize|frameSum) != framePlain || src[5]&0x8F != 0 || size < 4 {
		return dst, false, nil
	}
	claimed := uint64(0)
	if flags&frameSize != 0 {
		if head += 8; len(src) < head {
			return dst, false, nil
		}
		claimed = binary.LittleEndian.Uint64(src[6:])
	}
	block := 1 << (2*size + 8)
	for src, out = src[head:], dst; ; {
		if len(src) < 4 {
			return dst, false, nil
		}
		n := binary.LittleEndian.Uint32(src)
		src = src[4:]
		if n == 0 {
			break
		}
		stored, body := n&blockPlain != 0, int(n&^blockPlain)
		after := body
		if flags&frameBlockSum != 0 {
			after += 4
		}
		if body > block || len(src) < after {
			return dst, false, nil
		}
		if out, ok = appendBlock(out, src[:body], block, stored); !ok {
			return dst, false, nil
		}
		if len(out) > most {
			return dst, false, errInflated
		}
		src = src[after:]
	}
	sums := 0
	if flags&frameSum != 0 {
		sums = 4
	}
	if len(src) != sums || flags&frameSize != 0 && claimed != uint64(len(out)) {
		return dst, false, nil
	}
	return out, true, nil
}

// appendBlock appends a block of at most so many bytes.
func appendBlock(dst, src []byte, block int, stored bool) ([]byte, bool) {
	if stored {
		return append(dst, src...), true
	}
	for {
		at := len(dst)
		room := min(cap(dst), at+block)
		if n, err := lz4.UncompressBlock(src, dst[at:room]); err == nil {
			return dst[:at+n], true
		}
		if room == at+block {
			return dst, false
		}
		// It may only have been too small.
		dst = slices.Grow(dst, min(block, max(2*(room-at), 4*len(src))))
	}
}

var errCodec = errors.New("unknown compression")

// readAtMost appends what r gives to dst, which is empty.
func readAtMost(dst []byte, r io.Reader, most int) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	_, err := out.ReadFrom(io.LimitReader(r, int64(most)+1))
	if err == nil && out.Len() > most {
		err = errInflated
	}
	return out.Bytes(), err
}
