package kafkalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxProduceParts is the most topics, and partitions of a topic, that one produce request may name.
const maxProduceParts = 4096

// walkProduce reads over a produce request without allocating, so that the arrays it claims are
// bounded before a decoder makes them.
func walkProduce(src []byte, version int16) error {
	r := kbin.Reader{Src: src}
	flexible := version >= 9
	count := func() int32 {
		if flexible {
			return r.CompactArrayLen()
		}
		return r.ArrayLen()
	}
	if flexible {
		r.UnsafeCompactNullableString()
	} else {
		r.UnsafeNullableString()
	}
	r.Int16() // acks
	r.Int32() // timeout
	topics := count()
	if topics > maxProduceParts {
		return fmt.Errorf("%w: %d topics", errFrame, topics)
	}
	for range topics {
		switch {
		case version >= 13:
			r.Span(16)
		case flexible:
			r.UnsafeCompactString()
		default:
			r.UnsafeString()
		}
		parts := count()
		if parts > maxProduceParts {
			return fmt.Errorf("%w: %d partitions", errFrame, parts)
		}
		for range parts {
			r.Int32()
			if flexible {
				r.CompactNullableBytes()
				kmsg.SkipTags(&r)
			} else {
				r.NullableBytes()
			}
		}
		if flexible {
			kmsg.SkipTags(&r)
		}
	}
	if flexible {
		kmsg.SkipTags(&r)
	}
	if err := r.Complete(); err != nil {
		return fmt.Errorf("%w: produce: %w", errFrame, err)
	}
	return nil
}

// screenProduce refuses batches that could not be read again, and everything while the log is full.
// The broker itself checks no more than the header.
func (g *guard) screenProduce(r *request, req *kmsg.ProduceRequest) (verdict, error) {
	code, why := int16(0), ""
	if err := g.b.Room(int64(len(r.raw))); err != nil {
		code, why = kerr.KafkaStorageError.Code, err.Error()
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			if code != 0 {
				break
			}
			if err := checkForeignBatch(p.Records, int(g.b.cfg.MaxBatch)); err != nil {
				code, why = kerr.InvalidRecord.Code, err.Error()
			}
		}
	}
	silent := req.Acks == 0
	switch {
	case code == 0:
		return verdict{forward: r.raw, silent: silent}, nil
	case silent:
		return verdict{}, nil
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		st := kmsg.NewProduceResponseTopic()
		st.Topic, st.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			sp := kmsg.NewProduceResponseTopicPartition()
			sp.Partition, sp.ErrorCode, sp.ErrorMessage = p.Partition, code, &why
			st.Partitions = append(st.Partitions, sp)
		}
		resp.Topics = append(resp.Topics, st)
	}
	return r.answer(resp), nil
}

// maxInflated is how much larger than a batch's limit its records may be when decompressed.
const maxInflated = 8

var errBatch = errors.New("unreadable record batch")

// checkForeignBatch reads a batch to its last record, as every consumer will have to.
func checkForeignBatch(raw []byte, maxBatch int) error {
	if len(raw) < batchHeader || len(raw) > maxBatch {
		return fmt.Errorf("%w: %d bytes", errBatch, len(raw))
	}
	attributes := binary.BigEndian.Uint16(raw[21:])
	records := int32(binary.BigEndian.Uint32(raw[57:]))
	switch {
	case raw[16] != 2:
		return fmt.Errorf("%w: magic %d", errBatch, raw[16])
	case int(binary.BigEndian.Uint32(raw[8:])) != len(raw)-12:
		return fmt.Errorf("%w: length", errBatch)
	case binary.BigEndian.Uint32(raw[17:]) != crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)):
		return fmt.Errorf("%w: checksum", errBatch)
	case attributes&batchControl != 0:
		return fmt.Errorf("%w: control batch", errBatch)
	case records < 1 || int32(binary.BigEndian.Uint32(raw[23:])) != records-1:
		return fmt.Errorf("%w: %d records", errBatch, records)
	}
	body := raw[batchHeader:]
	if codec := kgo.CompressionCodecType(attributes & 7); codec != kgo.CodecNone {
		var err error
		if body, err = inflate(body, codec, maxInflated*maxBatch); err != nil {
			return fmt.Errorf("%w: %w", errBatch, err)
		}
	}
	return checkRecords(body, records)
}

// checkRecords walks the records of a batch.
func checkRecords(src []byte, want int32) error {
	for i := range want {
		size, n := binary.Varint(src)
		if n <= 0 || size < 0 || size > int64(len(src)-n) {
			return fmt.Errorf("%w: record %d is cut short", errBatch, i)
		}
		if err := checkRecord(src[n:n+int(size)], i); err != nil {
			return err
		}
		src = src[n+int(size):]
	}
	if len(src) > 0 {
		return fmt.Errorf("%w: %d bytes after the last record", errBatch, len(src))
	}
	return nil
}

func checkRecord(src []byte, delta int32) error {
	r := kbin.Reader{Src: src}
	r.Int8()
	r.Varlong()
	if got := r.Varint(); got != delta {
		return fmt.Errorf("%w: offset delta %d where %d is due", errBatch, got, delta)
	}
	r.VarintBytes()
	r.VarintBytes()
	headers := r.VarintArrayLen()
	for range headers {
		r.UnsafeVarintString()
		r.VarintBytes()
	}
	if err := r.Complete(); err != nil {
		return fmt.Errorf("%w: record %d: %w", errBatch, delta, err)
	}
	if len(r.Src) > 0 {
		return fmt.Errorf("%w: record %d is too long", errBatch, delta)
	}
	return nil
}
