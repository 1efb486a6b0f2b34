package kafkalog_test

import (
	"sync/atomic"
	"testing"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/kafkalog"
)

func benchRecords(n int) []event.Record {
	value := make([]byte, 544)
	for i := range value {
		value[i] = 'a' + byte(i%26)
	}
	recs := make([]event.Record, n)
	for i := range recs {
		recs[i] = record(int32(i%2), i)
		recs[i].Value = value
	}
	return recs
}

func benchProducer(b *testing.B) *kafkalog.Producer {
	br := openBroker(b, kafkalog.BrokerConfig{Cap: 64 << 30})
	ensure(b, br.Client(), "pin", 2)
	return newProducer(b, br.Client())
}

func BenchmarkAppendSingle(b *testing.B) {
	p := benchProducer(b)
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if errs := p.Append(b.Context(), "pin", []event.Record{record(int32(n.Add(1)%2), 1)}); errs != nil {
				b.Error(errs[0])
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkAppendBatch500(b *testing.B) {
	p := benchProducer(b)
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		recs := benchRecords(500)
		for pb.Next() {
			if errs := p.Append(b.Context(), "pin", recs); errs != nil {
				b.Error(errs[0])
			}
		}
	})
	b.ReportMetric(500*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkPoll(b *testing.B) {
	br := openBroker(b, kafkalog.BrokerConfig{Cap: 64 << 30})
	ensure(b, br.Client(), "pin", 2)
	p := newProducer(b, br.Client())
	const n = 200_000
	for range n / 1000 {
		appendAll(b, p, "pin", benchRecords(1000)...)
	}
	tp0, tp1 := kafkalog.TP{Topic: "pin", Partition: 0}, kafkalog.TP{Topic: "pin", Partition: 1}
	next := map[kafkalog.TP]int64{}
	c := newConsumer(b, br.Client(), "live", &member{}, "pin")
	b.ReportAllocs()
	for b.Loop() {
		pollUntil(b, c, next, func() bool { return next[tp0]+next[tp1] == n })
		c.Seek(tp0, 0)
		c.Seek(tp1, 0)
		next[tp0], next[tp1] = 0, 0
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
