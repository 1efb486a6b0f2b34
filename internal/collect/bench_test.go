package collect_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/kafkalog"
)

func pinJSON(i int) string {
	return fmt.Sprintf(`{"index":%d,"unique_id":"fbe53c66-3442-4773-b19e-%012d","event_id":"e-%d","title":"No Title Data Available",`+
		`"description":"%s","poster_name":"User Info Error","follower_count":124000,"tag_list":"N,o, ,T,a,g,s","is_image_or_video":"image",`+
		`"image_src":"https://i.pinimg.com/originals/af/5d/b8/af5db8.png","downloaded":1,"save_location":"Local save in /data/diy-and-crafts","category":"diy-and-crafts"}`,
		i, i, i, strings.Repeat("lorem ipsum ", 8))
}

func benchCollector(b *testing.B) *collect.Collector {
	br, err := kafkalog.OpenBroker(b.Context(), kafkalog.BrokerConfig{Dir: filepath.Join(b.TempDir(), "log"), Cap: 64 << 30}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := br.Close(); err != nil {
			b.Error(err)
		}
	})
	adm, err := kafkalog.NewAdmin(br.Client(), quiet)
	if err != nil {
		b.Fatal(err)
	}
	defer adm.Close()
	for topic, parts := range map[string]int32{"pin": 2, "pin.dead": 1} {
		if _, _, err := adm.EnsureTopic(b.Context(), kafkalog.TopicSpec{Name: topic, Partitions: parts}); err != nil {
			b.Fatal(err)
		}
	}
	p, err := kafkalog.NewProducer(br.Client(), quiet)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	cat := pins()
	cat.snap.Logs[0].Partitions = 2
	return newCollector(b, collect.Config{Now: time.Now}, p, cat)
}

// One event a request, 256 requests at a time, down to fsync.
func BenchmarkIngestSingle(b *testing.B) {
	c := benchCollector(b)
	body := []byte(pinJSON(1))
	b.SetBytes(int64(len(body)))
	b.SetParallelism(128)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if res, err := c.Ingest(b.Context(), "pin", body, collect.Options{}); err != nil || res.Accepted != 1 {
				b.Errorf("%+v %v", res, err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// 500 events a request, 8 requests at a time, down to fsync.
func BenchmarkIngestBatch500(b *testing.B) {
	for _, form := range []string{collect.FormNDJSON, collect.FormJSON} {
		b.Run(form, func(b *testing.B) {
			c := benchCollector(b)
			var body bytes.Buffer
			for i := range 500 {
				if form == collect.FormJSON {
					body.WriteByte("[,"[min(i, 1)])
				}
				body.WriteString(pinJSON(i) + "\n")
			}
			if form == collect.FormJSON {
				body.WriteByte(']')
			}
			b.SetBytes(int64(body.Len()))
			b.SetParallelism(4)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					res, err := c.Ingest(b.Context(), "pin", body.Bytes(), collect.Options{Form: form})
					if err != nil || res.Accepted != 500 {
						b.Errorf("%+v %v", res, err)
					}
				}
			})
			b.ReportMetric(500*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
