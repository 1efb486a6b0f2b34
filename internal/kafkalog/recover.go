package kafkalog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pinflow/pinflow/internal/fault"
)

// The layout of kfake's data folder (persist.go there): partitions/TOPIC-N/BASE.dat holds record
// batches as on the wire, BASE.idx fifteen bytes a batch.
const (
	partitionsDir  = "partitions"
	segmentSuffix  = ".dat"
	indexSuffix    = ".idx"
	indexEntrySize = 15
	batchHeader    = 61 // bytes of a batch before its records
	batchTxn       = 0x10
	batchControl   = 0x20
)

// Cut is a torn end that a crash left and a start removed.
type Cut struct {
	Partition string // TOPIC-N
	Segment   string // file name
	Bytes     int64
}

// recoverDir makes the folder of a broker that was killed, or stopped, one that kfake loads right:
// every start takes the same way. It cuts torn ends, completes the index files, and removes the
// snapshots and sessions of a clean stop: a snapshot that outlives its session file holds the last
// stable offset of a transaction that nobody will end, and would hide all that follows.
func recoverDir(dir string) ([]Cut, error) {
	if err := removeIfThere(filepath.Join(dir, "session_state.json")); err != nil {
		return nil, err
	}
	parts, err := os.ReadDir(filepath.Join(dir, partitionsDir))
	if err != nil {
		return nil, ignoreGone(err)
	}
	listed, err := listedPartitions(dir)
	if err != nil {
		return nil, err
	}
	var cuts []Cut
	var buf []byte
	for _, p := range parts {
		if !p.IsDir() {
			continue
		}
		if !listed[p.Name()] {
			if err := setAside(dir, p.Name()); err != nil {
				return nil, err
			}
			continue
		}
		cut, err := recoverPartition(&buf, filepath.Join(dir, partitionsDir, p.Name()))
		if err != nil {
			return nil, err
		}
		cuts = append(cuts, cut...)
	}
	return cuts, nil
}

// listedPartitions returns the folders that belong to topics. Without its two lists kfake would begin
// anew, and append to the segments that are there from offset 0.
func listedPartitions(dir string) (map[string]bool, error) {
	var meta struct{}
	var on topicList
	for name, into := range map[string]any{"meta.json": &meta, "topics.json": &on} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			return nil, fault.New(fault.Corrupt, "log_corrupt", "reading the embedded log's %s, which its records need: %w", name, err).
				WithAdvice("Restore %s from a copy, or move it away to begin with an empty log", dir)
		}
	}
	listed := make(map[string]bool)
	for _, t := range on.Topics {
		for p := range t.Partitions {
			listed[fmt.Sprintf("%s-%d", url.PathEscape(t.Name), p)] = true
		}
	}
	return listed, nil
}

// topicList is kfake's topics.json.
type topicList struct {
	Topics []struct {
		Name       string `json:"name"`
		Partitions int32  `json:"partitions"`
	} `json:"topics"`
}

// setAside moves the records of a topic that is not listed: another client made it while the disk was
// full. A topic of that name made later must not go on in its files.
func setAside(dir, name string) error {
	aside := filepath.Join(dir, "unlisted")
	if err := os.MkdirAll(aside, 0o755); err != nil {
		return fmt.Errorf("setting %s aside: %w", name, err)
	}
	to, err := os.MkdirTemp(aside, name+".")
	if err != nil {
		return fmt.Errorf("setting %s aside: %w", name, err)
	}
	if err := os.Rename(filepath.Join(dir, partitionsDir, name), filepath.Join(to, name)); err != nil {
		return fmt.Errorf("setting %s aside: %w", name, err)
	}
	return nil
}

func recoverPartition(buf *[]byte, dir string) ([]Cut, error) {
	if err := removeIfThere(filepath.Join(dir, "snapshot.json")); err != nil {
		return nil, err
	}
	bases, err := segmentBases(dir)
	if err != nil {
		return nil, err
	}
	var cuts []Cut
	next := int64(-1)
	for i, base := range bases {
		if next >= 0 && base != next && base != bases[0] {
			return nil, corrupt(dir, base, 0, fmt.Errorf("the segment before it ends at offset %d", next))
		}
		name := strconv.FormatInt(base, 10)
		seg, err := recoverSegment(buf, dir, name, i == len(bases)-1)
		if err != nil {
			return nil, err
		}
		if seg.cut > 0 {
			cuts = append(cuts, Cut{Partition: filepath.Base(dir), Segment: name + segmentSuffix, Bytes: seg.cut})
		}
		next = max(base, seg.next)
	}
	return cuts, nil
}

func segmentBases(dir string) ([]int64, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing segments: %w", err)
	}
	var bases []int64
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), segmentSuffix)
		if !ok {
			continue
		}
		base, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			return nil, fault.New(fault.Corrupt, "log_corrupt", "%s is no segment", filepath.Join(dir, f.Name()))
		}
		bases = append(bases, base)
	}
	slices.Sort(bases)
	return bases, nil
}

type segmentEnd struct {
	next int64 // offset after the last batch
	cut  int64 // bytes cut
}

// recoverSegment checks one file batch by batch. Only the end of the last segment may be torn: every
// batch before it was synced before the next was written.
func recoverSegment(buf *[]byte, dir, name string, last bool) (segmentEnd, error) {
	path := filepath.Join(dir, name+segmentSuffix)
	raw, err := readInto(buf, path)
	if err != nil {
		return segmentEnd{}, fmt.Errorf("reading a segment: %w", err)
	}
	base, _ := strconv.ParseInt(name, 10, 64)
	end := segmentEnd{next: base}
	var index []byte
	pos := 0
	for pos < len(raw) {
		size, err := checkBatch(raw[pos:], end.next)
		if err != nil {
			if !last || wholeBatchBeyond(raw[pos:], end.next) {
				return end, corrupt(dir, base, pos, err)
			}
			end.cut = int64(len(raw) - pos)
			break
		}
		head := raw[pos:]
		end.next += int64(binary.BigEndian.Uint32(head[23:])) + 1
		index = appendIndexEntry(index, binary.BigEndian.Uint16(head[21:]))
		pos += size
	}
	if end.cut > 0 {
		if err := truncateFile(path, int64(pos)); err != nil {
			return end, fmt.Errorf("cutting a torn segment: %w", err)
		}
	}
	return end, completeIndex(filepath.Join(dir, name+indexSuffix), index)
}

// readInto reads a file into the buffer, which grows as needed.
func readInto(buf *[]byte, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	*buf = slices.Grow((*buf)[:0], int(info.Size()))[:info.Size()]
	_, err = io.ReadFull(f, *buf)
	return *buf, err
}

// checkBatch returns the size of the whole, sound batch that raw begins with.
func checkBatch(raw []byte, offset int64) (int, error) {
	if len(raw) < batchHeader {
		return 0, errors.New("a batch header is cut short")
	}
	size := 12 + int64(binary.BigEndian.Uint32(raw[8:]))
	switch {
	case size < batchHeader:
		return 0, fmt.Errorf("a batch of %d bytes", size)
	case size > int64(len(raw)):
		return 0, errors.New("a batch is cut short")
	case binary.BigEndian.Uint32(raw[17:]) != crc32.Checksum(raw[21:size], crc32.MakeTable(crc32.Castagnoli)):
		return 0, errors.New("a batch's checksum does not match")
	case int64(binary.BigEndian.Uint64(raw)) != offset:
		return 0, fmt.Errorf("a batch at offset %d where %d is due", binary.BigEndian.Uint64(raw), offset)
	}
	return int(size), nil
}

// wholeBatchBeyond looks for a sound batch after a damaged one: then the damage is no torn end.
func wholeBatchBeyond(raw []byte, offset int64) bool {
	if len(raw) < batchHeader {
		return false
	}
	size := 12 + int64(binary.BigEndian.Uint32(raw[8:]))
	if size < batchHeader || size >= int64(len(raw)) {
		return false
	}
	next := offset + int64(binary.BigEndian.Uint32(raw[23:])) + 1
	_, err := checkBatch(raw[size:], next)
	return err == nil
}

// appendIndexEntry is kfake's index entry of a batch: version, checksum, epoch, timestamp, in a
// transaction. Epoch is always 0 with one broker, and kfake computes the timestamp itself.
func appendIndexEntry(index []byte, attributes uint16) []byte {
	e := [indexEntrySize]byte{0: 1}
	if attributes&batchTxn != 0 && attributes&batchControl == 0 {
		e[14] = 1
	}
	e[1] = byte(crc32.Checksum(e[2:], crc32.MakeTable(crc32.Castagnoli)))
	return append(index, e[:]...)
}

// completeIndex replaces an index that a crash left longer or shorter than its segment: entries are
// found by number, so one that is missing would shift all that follow.
func completeIndex(path string, index []byte) error {
	have, err := os.Stat(path)
	if err == nil && have.Size() == int64(len(index)) || errors.Is(err, fs.ErrNotExist) && len(index) == 0 {
		return nil
	}
	if err := ignoreGone(err); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("completing a segment's index: %w", err)
	}
	_, err = f.Write(index)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("completing a segment's index: %w", err)
	}
	return nil
}

func truncateFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

func removeIfThere(path string) error { return ignoreGone(os.Remove(path)) }

func corrupt(dir string, base int64, pos int, why error) error {
	return fault.New(fault.Corrupt, "log_corrupt", "segment %d%s is damaged at byte %d: %w", base, segmentSuffix, pos, why).
		At("%s", dir).
		WithAdvice("Restore the folder from a copy, or move it away and accept the loss with: pinflow topics accept-reset")
}
