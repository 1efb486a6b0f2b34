//go:build synctests

package kafkalog_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/testbed"
)

// Eight hours of the log in virtual time: one record an hour, in process and through the Kafka port.
func TestLogInVirtualTime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	testbed.Bubble(t, func(t *testing.T) {
		var nw kfake.VirtualNetwork
		b := openBroker(t, kafkalog.BrokerConfig{Dir: dir, Listen: "127.0.0.1:9092", ListenFn: nw.Listen})
		ensure(t, b.Client(), "pin", 1)
		p := newProducer(t, b.Client())
		outside, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.Dialer(nw.DialContext), kgo.DefaultProduceTopic("pin"))
		if err != nil {
			t.Fatal(err)
		}
		defer outside.Close()
		c := newConsumer(t, b.Client(), "live", &member{}, "pin")
		tp := kafkalog.TP{Topic: "pin"}
		next := map[kafkalog.TP]int64{}
		start := time.Now()
		for i := range 8 {
			appendAll(t, p, "pin", record(0, i))
			if err := outside.ProduceSync(t.Context(), kgo.StringRecord("{}")).FirstErr(); err != nil {
				t.Fatal(err)
			}
			pollUntil(t, c, next, func() bool { return next[tp] == int64(2*i+2) })
			time.Sleep(time.Hour)
		}
		if passed := time.Since(start); passed < 8*time.Hour {
			t.Fatalf("only %s passed", passed)
		}
		c.Close()
	})
}
