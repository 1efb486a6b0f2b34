package kafkalog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/kafkalog"
)

// What is appended after ready is handed over, of all topics, and nothing from before.
func TestTailBeginsWhenItIsReady(t *testing.T) {
	b := openBroker(t, kafkalog.BrokerConfig{})
	adm, err := kafkalog.NewAdmin(b.Client(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	for topic, parts := range map[string]int32{"pin": 2, "pin.dead": 1} {
		if _, _, err := adm.EnsureTopic(t.Context(), kafkalog.TopicSpec{Name: topic, Partitions: parts, Replication: 1}); err != nil {
			t.Fatal(err)
		}
	}
	p, err := kafkalog.NewProducer(b.Client(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	send := func(topic string, partition int32, value string) int64 {
		t.Helper()
		recs := []event.Record{{Partition: []byte("k"), Value: []byte(value), ID: value, Received: 1}}
		recs[0].Key.Partition = partition
		if failed := p.Append(t.Context(), topic, recs); failed != nil {
			t.Fatal(failed)
		}
		return recs[0].Offset
	}
	for i := range 3 {
		if at := send("pin", 1, fmt.Sprintf("before %d", i)); at != int64(i) {
			t.Fatalf("the producer notes offset %d, want %d", at, i)
		}
	}
	ready, got := make(chan struct{}), make(chan string)
	enough := errors.New("enough")
	done := make(chan error, 1)
	go func() {
		n := 0
		done <- kafkalog.Tail(t.Context(), b.Client(), []string{"pin", "pin.dead"}, quiet, func() { close(ready) }, func(topic string, recs []event.Record) error {
			for _, r := range recs {
				got <- fmt.Sprintf("%s/%d@%d %s", topic, r.Key.Partition, r.Offset, r.Value)
				if n++; n == 3 {
					return enough
				}
			}
			return nil
		})
	}()
	<-ready
	send("pin", 1, "after")
	first := <-got
	send("pin", 0, "beside")
	second := <-got
	send("pin.dead", 0, "dead")
	for i, pair := range [][2]string{{first, "pin/1@3 after"}, {second, "pin/0@0 beside"}, {<-got, "pin.dead/0@0 dead"}} {
		if pair[0] != pair[1] {
			t.Errorf("record %d: %q, want %q", i, pair[0], pair[1])
		}
	}
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := kafkalog.Tail(ended, b.Client(), []string{"pin"}, quiet, func() {}, nil); err == nil {
		t.Error("a tail without time succeeds")
	}
}
