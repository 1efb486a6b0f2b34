package kafkalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// text is some bytes that pack well or badly.
func text(r *rand.Rand, n int) []byte {
	out, kinds := make([]byte, n), 1+r.IntN(256)
	for i := range out {
		out[i] = byte(r.IntN(kinds))
	}
	if n > 0 && r.IntN(2) == 0 {
		for i := 1 + r.IntN(n); i < n; i++ {
			out[i] = out[i-r.IntN(min(i, 1<<16))-1]
		}
	}
	return out
}

// lz4Frame packs a text with LZ4 as some writer might.
func lz4Frame(t *testing.T, r *rand.Rand, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	opts := []lz4.Option{
		lz4.BlockSizeOption([]lz4.BlockSize{lz4.Block64Kb, lz4.Block256Kb, lz4.Block1Mb, lz4.Block4Mb}[r.IntN(4)]),
		lz4.BlockChecksumOption(r.IntN(2) == 0), lz4.ChecksumOption(r.IntN(2) == 0),
	}
	if r.IntN(2) == 0 {
		opts = append(opts, lz4.SizeOption(uint64(len(content))))
	}
	if err := w.Apply(opts...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Frames unpack to what the library's reader makes of them, into whatever memory there is, and so do those that are
// cut short, damaged, followed by something or larger than allowed: what it reads is read, and to the same bytes.
func TestFramesUnpackAsTheLibraryReadsThem(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	ordinary := 0
	for range 500 {
		content := text(r, r.IntN(1<<uint(1+r.IntN(19))))
		src := lz4Frame(t, r, content)
		switch r.IntN(6) {
		case 0:
			src = src[:r.IntN(len(src))]
		case 1:
			src[r.IntN(len(src))] ^= 1 << r.IntN(8)
		case 2:
			src = append(src, lz4Frame(t, r, text(r, r.IntN(100)))...)
		case 3:
			src = append(src, text(r, r.IntN(8))...)
		}
		most := max(1, len(content)+r.IntN(3)-1)
		dst := make([]byte, 0, r.IntN(2*len(content)+2))
		want, failed := inflate(src, kgo.CodecLz4, most)
		got, ok, err := appendFrame(dst, src, most)
		switch {
		case err != nil && !errors.Is(err, errInflated):
			t.Fatal(err)
		case ok && len(got) > most:
			t.Fatalf("%d bytes where %d are allowed", len(got), most)
		case err == nil && !ok, err != nil && failed != nil:
		case err != nil:
			t.Fatalf("%v, but the library reads %d bytes of %d", err, len(want), most)
		case failed == nil && !bytes.Equal(got, want):
			t.Fatalf("%d bytes, but the library reads %d", len(got), len(want))
		}
		if ok {
			ordinary++
		}
		out, err := newUnpacker(newPool(), most).Decompress(src, kgo.CodecLz4)
		if failed == nil && (err != nil || !bytes.Equal(out, want)) {
			t.Fatalf("%d bytes and %v, but the library reads %d", len(out), err, len(want))
		}
		if errors.Is(failed, errInflated) && err == nil {
			t.Fatalf("%d bytes where %d are allowed", len(out), most)
		}
	}
	if ordinary < 100 {
		t.Errorf("only %d frames were unpacked here", ordinary)
	}
}

// packed is a text in each of Kafka's codecs.
func packed(t *testing.T, r *rand.Rand, content []byte) map[kgo.CompressionCodecType][]byte {
	t.Helper()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write(content)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	java := append([]byte(xerial), 0, 0, 0, 1, 0, 0, 0, 1)
	for at := 0; at < len(content); at += 1000 {
		block := s2.EncodeSnappy(nil, content[at:min(at+1000, len(content))])
		java = append(binary.BigEndian.AppendUint32(java, uint32(len(block))), block...)
	}
	out := map[kgo.CompressionCodecType][]byte{
		kgo.CodecNone: content, kgo.CodecGzip: zipped.Bytes(), kgo.CodecSnappy: s2.EncodeSnappy(nil, content),
		kgo.CodecLz4: lz4Frame(t, r, content), kgo.CodecZstd: z.EncodeAll(content, nil),
	}
	if r.IntN(2) == 0 && len(content) > 0 {
		out[kgo.CodecSnappy] = java
	}
	return out
}

// Every codec unpacks to what was packed, into memory that comes back, and to no more than is allowed.
func TestEveryCodecUnpacks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	const most = 100_000
	u := newUnpacker(newPool(), most)
	for range 100 {
		content := text(r, 1+r.IntN(most))
		for codec, src := range packed(t, r, content) {
			out, err := u.Decompress(src, codec)
			if err != nil || !bytes.Equal(out, content) {
				t.Fatalf("codec %d: %d bytes of %d, %v", codec, len(out), len(content), err)
			}
			if codec != kgo.CodecNone {
				u.spare.PutDecompressBytes(out)
			}
		}
		large := text(r, most+1+r.IntN(most))
		for codec, src := range packed(t, r, large) {
			if _, err := u.Decompress(src, codec); codec != kgo.CodecNone && !errors.Is(err, kgo.ErrMaxDecompress) {
				t.Fatalf("codec %d: %v of %d bytes where %d are allowed", codec, err, len(large), most)
			}
		}
	}
}
