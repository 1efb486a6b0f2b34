package kafkalog_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pinflow/pinflow/internal/kafkalog"
)

// A client of the Kafka port works as usual. It is what every test of junk ends with.
func normalClientWorks(t *testing.T, b *kafkalog.Broker) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.DefaultProduceTopic("pin"),
		kgo.ConsumeTopics("pin"), kgo.ConsumerGroup("normal"), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := testContext(t)
	res, err := cl.ProduceSync(ctx, kgo.StringRecord(`{"normal":true}`)).First()
	if err != nil {
		t.Fatal(err)
	}
	for {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			if r.Partition == res.Partition && r.Offset == res.Offset {
				return
			}
		}
	}
}

func guarded(t *testing.T, cfg kafkalog.BrokerConfig) *kafkalog.Broker {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	b := openBroker(t, cfg)
	ensure(t, b.Client(), "pin", 2)
	return b
}

// throw sends bytes and, if asked, waits until the port closes the connection.
func throw(t *testing.T, b *kafkalog.Broker, junk []byte, awaitClose bool) {
	t.Helper()
	c, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(junk); err != nil {
		return // closed already
	}
	if !awaitClose {
		return
	}
	var timeout net.Error
	if _, err := io.Copy(io.Discard, c); errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the connection stays open after %x", junk[:min(len(junk), 16)])
	}
}

func requestFrame(key, version int16, body []byte) []byte {
	raw := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
	raw = binary.BigEndian.AppendUint16(raw, uint16(key))
	raw = binary.BigEndian.AppendUint16(raw, uint16(version))
	raw = append(raw, 0, 0, 0, 1, 0, 0)
	return append(raw, body...)
}

func TestGuardOutlivesJunk(t *testing.T) {
	b := guarded(t, kafkalog.BrokerConfig{FrameTimeout: 200 * time.Millisecond})
	rnd := rand.New(rand.NewPCG(1, 2))
	for key := int16(-3); key < 120; key++ {
		throw(t, b, requestFrame(key, 99, nil), key != 18)
	}
	for _, key := range []int16{math.MinInt16, math.MaxInt16} {
		throw(t, b, requestFrame(key, 0, nil), true)
	}
	for _, size := range []uint32{0, 1, 7, 1 << 21, math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32} {
		for _, key := range []uint16{0, 1, 3, 18} {
			raw := binary.BigEndian.AppendUint32(nil, size)
			raw = binary.BigEndian.AppendUint16(raw, key)
			throw(t, b, append(raw, 0, 3, 0, 0, 0, 0), size != 1<<21 || key != 0)
		}
	}
	whole := requestFrame(3, 1, []byte{0, 0, 0, 0})
	for n := 1; n < len(whole); n++ {
		throw(t, b, whole[:n], n%5 == 0) // half frames run into the time limit, or are abandoned
	}
	for range 200 {
		junk := make([]byte, 1+rnd.IntN(400))
		for i := range junk {
			junk[i] = byte(rnd.Uint32())
		}
		throw(t, b, junk, false)
		if len(junk) > 12 { // a sound frame around a body of junk
			throw(t, b, requestFrame(int16(rnd.IntN(80)), int16(rnd.IntN(16)), junk), false)
		}
	}
	normalClientWorks(t, b)
}

// Requests that are well formed and absurd reach the broker; it must bear them.
func TestBrokerBearsAbsurdRequests(t *testing.T) {
	b := guarded(t, kafkalog.BrokerConfig{FrameTimeout: time.Second})
	rnd := rand.New(rand.NewPCG(3, 4))
	answered := 0
	for key := int16(0); key <= 92; key++ {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		for range 40 {
			c, err := net.Dial("tcp", b.Addr())
			if err != nil {
				t.Fatal(err)
			}
			for absurd(t, c, rnd, key, int16(rnd.IntN(int(req.MaxVersion())+1))) && rnd.IntN(10) > 0 {
				answered++
			}
			c.Close()
		}
	}
	if answered < 1000 {
		t.Errorf("only %d requests were answered", answered)
	}
	normalClientWorks(t, b)
}

// absurd sends one random request and tells whether it was answered.
func absurd(t *testing.T, c net.Conn, rnd *rand.Rand, key, version int16) bool {
	t.Helper()
	req := kmsg.RequestForKey(key)
	fill(rnd, reflect.ValueOf(req).Elem(), 0)
	req.SetVersion(version)
	header := []byte(nil)
	if req.IsFlexible() {
		header = []byte{0}
	}
	if _, err := c.Write(requestFrame(key, version, req.AppendTo(header))); err != nil {
		return false
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return false // no answer: acks=0, a long poll, or closed
	}
	_, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size[:])))
	return err == nil
}

// fill sets every field to something random, likely to be a name that exists or a number at an edge.
func fill(rnd *rand.Rand, v reflect.Value, depth int) {
	numbers := []int64{0, 1, -1, 2, 3, 100, math.MaxInt16, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}
	texts := []string{"", "pin", "other", "a", "..", "consumer", "range", "\x00"}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() && v.Type().Field(i).Name != "UnknownTags" {
				fill(rnd, v.Field(i), depth+1)
			}
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n := numbers[rnd.IntN(len(numbers))]
		v.SetInt(n)
	case reflect.String:
		v.SetString(texts[rnd.IntN(len(texts))])
	case reflect.Bool:
		v.SetBool(rnd.IntN(2) == 0)
	case reflect.Pointer:
		if rnd.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rnd, v.Elem(), depth+1)
		}
	case reflect.Slice:
		n := rnd.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(rnd, v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rnd, v.Index(i), depth+1)
		}
	case reflect.Uint8:
		v.SetUint(uint64(rnd.IntN(256)))
	case reflect.Float64:
		v.SetFloat(rnd.NormFloat64())
	default:
	}
}

func TestGuardLimitsConnections(t *testing.T) {
	b := guarded(t, kafkalog.BrokerConfig{MaxConns: 8})
	var open []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		versions(t, c) // now it is counted
	}
	throw(t, b, []byte{0}, true) // one too many is closed at once
	for _, c := range open {
		c.Close()
	}
	normalClientWorks(t, b)
}

func versions(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write(requestFrame(18, 0, nil)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size[:]))); err != nil {
		t.Fatal(err)
	}
}

func foreign(t *testing.T, b *kafkalog.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addr()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func TestGuardRefusesWhatWouldTakeRecordsAway(t *testing.T) {
	b := guarded(t, kafkalog.BrokerConfig{})
	appendAll(t, newProducer(t, b.Client()), "pin", record(0, 1), record(0, 2))
	cl := foreign(t, b)
	adm, ctx := kadm.NewClient(cl), testContext(t)
	retention := "1"
	tries := map[string]func() error{
		"delete topic": func() error { r, err := adm.DeleteTopic(ctx, "pin"); return errors.Join(err, r.Err) },
		"delete records": func() error {
			r, err := adm.DeleteRecords(ctx, kadm.Offsets{"pin": {0: {Topic: "pin", At: 2}}})
			return errors.Join(err, r.Error())
		},
		"alter retention": func() error {
			r, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &retention}}, "pin")
			if err != nil {
				return err
			}
			return r[0].Err
		},
		"alter all": func() error {
			r, err := adm.AlterTopicConfigsState(ctx, []kadm.AlterConfig{{Name: "cleanup.policy", Value: &retention}}, "pin")
			if err != nil {
				return err
			}
			return r[0].Err
		},
		"more partitions": func() error {
			r, err := adm.CreatePartitions(ctx, 1, "pin")
			return errors.Join(err, r.Error())
		},
		"topic with retention": func() error {
			r, err := adm.CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": &retention}, "mine")
			return errors.Join(err, r.Err)
		},
		"too many partitions": func() error {
			r, err := adm.CreateTopic(ctx, 100_000, 1, nil, "mine")
			return errors.Join(err, r.Err)
		},
	}
	for name, try := range tries {
		var ke *kerr.Error
		if err := try(); !errors.As(err, &ke) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, err := adm.CreateTopic(ctx, 1, 1, nil, "mine"); errors.Join(err, r.Err) != nil {
		t.Errorf("a plain topic: %v %v", err, r.Err)
	}
	if got := readAll(t, b.Client(), kafkalog.TP{Topic: "pin"}, 0, 2); len(got) != 2 {
		t.Fatalf("%d records left", len(got))
	}
}

func TestGuardRefusesBatchesThatCannotBeReadAgain(t *testing.T) {
	b := guarded(t, kafkalog.BrokerConfig{})
	cl := foreign(t, b)
	good := kmsg.RecordBatch{
		Magic: 2, NumRecords: 1, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		Records: []byte{14, 0, 0, 0, 1, 2, 'v', 0},
	}
	bad := map[string]func(*kmsg.RecordBatch){
		"no records":         func(r *kmsg.RecordBatch) { r.NumRecords, r.LastOffsetDelta = 0, -1 },
		"fewer than none":    func(r *kmsg.RecordBatch) { r.NumRecords, r.LastOffsetDelta = -5, -6 },
		"a billion records":  func(r *kmsg.RecordBatch) { r.NumRecords, r.LastOffsetDelta = 1e9, 1e9-1 },
		"wrong offset delta": func(r *kmsg.RecordBatch) { r.Records = []byte{14, 0, 0, 2, 1, 2, 'v', 0} },
		"a record too long":  func(r *kmsg.RecordBatch) { r.Records = []byte{16, 0, 0, 0, 1, 2, 'v', 0} },
		"bytes after it":     func(r *kmsg.RecordBatch) { r.Records = append(r.Records, 9) },
		"gzip that is none":  func(r *kmsg.RecordBatch) { r.Attributes = 1 },
		"snappy bomb":        func(r *kmsg.RecordBatch) { r.Attributes, r.Records = 2, []byte{255, 255, 255, 255, 15} },
		"lz4 that is none":   func(r *kmsg.RecordBatch) { r.Attributes = 3 },
		"zstd that is none":  func(r *kmsg.RecordBatch) { r.Attributes = 4 },
		"codec 7":            func(r *kmsg.RecordBatch) { r.Attributes = 7 },
		"control batch":      func(r *kmsg.RecordBatch) { r.Attributes = 0x20 },
	}
	for name, spoil := range bad {
		batch := good
		batch.Records = append([]byte(nil), good.Records...)
		spoil(&batch)
		if code := produceRaw(t, cl, batch); code != kerr.InvalidRecord.Code {
			t.Errorf("%s: %v", name, kerr.ErrorForCode(code))
		}
	}
	if code := produceRaw(t, cl, good); code != 0 {
		t.Fatal(kerr.ErrorForCode(code))
	}
	ends, err := newAdmin(t, b.Client()).HighWatermarks(testContext(t), "pin")
	if err != nil || ends[0] != 1 {
		t.Fatalf("ends %v, %v", ends, err)
	}
	for _, codec := range []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		sender := foreign(t, b, kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic("pin"))
		value := make([]byte, 100_000)
		if err := sender.ProduceSync(testContext(t), kgo.SliceRecord(value), kgo.SliceRecord(value)).FirstErr(); err != nil {
			t.Errorf("codec %v: %v", codec, err)
		}
	}
}

func produceRaw(t *testing.T, cl *kgo.Client, batch kmsg.RecordBatch) int16 {
	t.Helper()
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "pin"
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = raw
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	meta, err := kadm.NewClient(cl).Metadata(testContext(t), "pin")
	if err != nil {
		t.Fatal(err)
	}
	req.Topics[0].TopicID = meta.Topics["pin"].ID
	resp, err := cl.Broker(0).Request(testContext(t), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
}

func TestGuardRefusesForeignProducersWhileTheLogIsFull(t *testing.T) {
	b := guarded(t, kafkalog.BrokerConfig{Cap: 1})
	cl := foreign(t, b)
	batch := kmsg.RecordBatch{
		Magic: 2, NumRecords: 1, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		Records: []byte{14, 0, 0, 0, 1, 2, 'v', 0},
	}
	if code := produceRaw(t, cl, batch); code != kerr.KafkaStorageError.Code {
		t.Fatal(kerr.ErrorForCode(code))
	}
}
