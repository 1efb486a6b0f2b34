package kafkalog_test

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/kafkalog"
)

// With a log-in the port may be open to others: whoever knows the password writes and reads, nobody else does
// anything, and our own clients inside need none.
func TestKafkaPortAsksWhoComesIn(t *testing.T) {
	for _, mechanism := range []string{kafkalog.Plain, kafkalog.ScramSHA256, kafkalog.ScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			login := kafkalog.Login{Mechanism: mechanism, User: "jane", Password: "hunter2"}
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			at := free.Addr().String()
			free.Close()
			_, port, err := net.SplitHostPort(at)
			if err != nil {
				t.Fatal(err)
			}
			b := openBroker(t, kafkalog.BrokerConfig{Listen: "0.0.0.0:" + port, Advertise: at, Login: &login})
			ensure(t, b.Client(), "pin", 1)
			outside := kafkalog.Config{Brokers: []string{at}, DeliveryTimeout: 3 * time.Second}
			try := func(l *kafkalog.Login) error {
				cfg := outside
				cfg.Login = l
				p, err := kafkalog.NewProducer(cfg, quiet)
				if err != nil {
					return err
				}
				defer p.Close()
				for _, err := range p.Append(testContext(t), "pin", []event.Record{{Value: []byte("{}"), Partition: []byte("k"), ID: "a"}}) {
					return err
				}
				return nil
			}
			if err := try(&login); err != nil {
				t.Errorf("the right password: %v", err)
			}
			for name, l := range map[string]*kafkalog.Login{
				"none":          nil,
				"password":      {Mechanism: mechanism, User: "jane", Password: "hunter3"},
				"name":          {Mechanism: mechanism, User: "joan", Password: "hunter2"},
				"empty":         {Mechanism: mechanism, User: "jane"},
				"the other way": {Mechanism: map[bool]string{true: kafkalog.ScramSHA512, false: kafkalog.Plain}[mechanism == kafkalog.Plain], User: "jane", Password: "hunter2"},
			} {
				if err := try(l); err == nil {
					t.Errorf("%s: it was let in", name)
				}
			}
			ends, err := newAdmin(t, b.Client()).HighWatermarks(testContext(t), "pin")
			if err != nil || ends[0] != 1 {
				t.Errorf("the log has %v records (%v), want 1", ends, err)
			}
			beforeLogin(t, outside.Brokers[0])
		})
	}
}

// beforeLogin sends a request other than the log-in's: the connection is closed without an answer.
func beforeLogin(t *testing.T, addr string) {
	t.Helper()
	for _, key := range []uint16{3, 0, 19, 10} { // metadata, produce, create topics, find coordinator
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		req := binary.BigEndian.AppendUint32(nil, 12)
		req = binary.BigEndian.AppendUint16(req, key)
		req = append(req, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0, 0)
		if _, err := c.Write(req); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("key %d was answered before the log-in", key)
		}
		c.Close()
	}
}
