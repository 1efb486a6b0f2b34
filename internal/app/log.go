package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/ledger"
)

// KafkaClient says how the settings' Kafka cluster is reached.
func KafkaClient(s config.Log) (kafkalog.Config, error) {
	c := kafkalog.Config{Brokers: s.Brokers}
	if s.TLS.Enabled {
		var err error
		if c.TLS, err = kafkalog.ClientTLS(s.TLS.CAFile, s.TLS.CertFile, s.TLS.KeyFile); err != nil {
			return c, err
		}
	}
	if s.SASL.Mechanism != "" {
		c.Login = &kafkalog.Login{Mechanism: s.SASL.Mechanism, User: s.SASL.Username, Password: s.SASL.Password}
	}
	return c, nil
}

// openLog opens the log, embedded or Kafka, and the clients of it that every process has.
func (p *parts) openLog(ctx context.Context) error {
	s := p.cfg.Project.Settings
	var err error
	if s.Log.Kind == config.Embedded {
		if err = p.openBroker(ctx); err != nil {
			return err
		}
	} else {
		if p.wire, err = KafkaClient(s.Log); err != nil {
			return err
		}
		p.wire = p.cfg.Wire(nil, p.wire)
		if p.folder.held() {
			// Whoever holds the folder's lock is the one process of that name.
			sum := sha256.Sum256([]byte(p.owner()))
			p.wire.Instance = "up-" + hex.EncodeToString(sum[:8])
		}
	}
	return p.openAdmin(ctx)
}

// openAdmin opens the client that looks after topics.
func (p *parts) openAdmin(ctx context.Context) (err error) {
	if p.admin, err = kafkalog.NewAdmin(p.wire, p.log); err != nil {
		return err
	}
	p.onClose(func() error { p.admin.Close(); return nil })
	return reachLog(ctx, p.admin, p.wire, "")
}

// reachLog asks whether the log is there. If it is not, the fault says where it was looked for and what to do, and then.
func reachLog(ctx context.Context, admin *kafkalog.Admin, wire kafkalog.Config, then string) error {
	where, advice := "Kafka", "start it, or set log.brokers right"
	if wire.Embedded {
		where, advice = "the embedded log", "see what pinflow up, whose broker it is, says in its log"
	}
	where += " at " + strings.Join(wire.Brokers, ", ")
	err := admin.Ping(ctx)
	if fault.Is(err, fault.Transient) {
		return fault.New(fault.Transient, "log_unreachable", "reaching %s: %w", where, err).WithAdvice("%s%s", advice, then)
	}
	if err != nil {
		return fmt.Errorf("reaching %s: %w", where, err)
	}
	return nil
}

// joinLog reaches the embedded log of another process of this host by its Kafka port.
func (p *parts) joinLog(ctx context.Context, address string) error {
	c := kafkalog.Config{Brokers: []string{address}, Embedded: true, Login: embeddedLogin(p.cfg.Project.Settings.Log)}
	p.wire = p.cfg.Wire(nil, c)
	return p.openAdmin(ctx)
}

// embeddedLogin is how clients log in to the embedded log; nil: nobody has to.
func embeddedLogin(s config.Log) *kafkalog.Login {
	if s.SASL.Mechanism == "" {
		return nil
	}
	return &kafkalog.Login{Mechanism: s.SASL.Mechanism, User: s.SASL.Username, Password: s.SASL.Password}
}

// logFolder is where the embedded log keeps its records.
func logFolder(s config.Settings) string { return filepath.Join(s.Data, "log") }

// openBroker starts the embedded broker.
func (p *parts) openBroker(ctx context.Context) error {
	s := p.cfg.Project.Settings
	var err error
	p.broker, err = kafkalog.OpenBroker(ctx, kafkalog.BrokerConfig{
		Dir: logFolder(s), Listen: s.Log.Listen, Cap: s.Log.Cap, Login: embeddedLogin(s.Log), Advertise: s.Log.Advertise,
		ListenFn: func(_, addr string) (net.Listener, error) {
			return listen(p.cfg.Listen, addr, p.cfg.Project.Chosen("log.listen"), "Kafka clients", "--log-listen", p.log)
		},
	}, p.log)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	p.onClose(p.broker.Close)
	if err := p.folder.tell(p.broker.Addr()); err != nil {
		return err
	}
	p.wire = p.cfg.Wire(p.broker, p.broker.Client())
	return nil
}

// openDoor opens the producer of the collector, whose batches every topic must take.
func (p *parts) openDoor(ctx context.Context) error {
	client := p.wire
	client.MaxInFlight = p.cfg.Project.Settings.Limits.InFlight
	if p.broker == nil {
		snap, err := p.ledger.Load(ctx)
		if err != nil {
			return fmt.Errorf("reading the catalogue: %w", err)
		}
		if client.MaxBatch, err = p.admin.SmallestBatch(ctx, kafkaBatch, openTopics(snap)...); err != nil {
			return err
		}
	}
	var err error
	if p.door, err = kafkalog.NewProducer(client, p.log); err != nil {
		return err
	}
	p.onClose(func() error { p.door.Close(); return nil })
	return nil
}

// kafkaBatch is the most bytes of a batch that goes to a Kafka cluster; its topics may take less.
const kafkaBatch = 4 << 20

// openTopics are the topics of the logs that are open.
func openTopics(snap *ledger.Snapshot) []string {
	var names []string
	for _, l := range snap.Logs {
		if l.Kind == ledger.KindKafka && l.ClosedAt.IsZero() {
			names = append(names, l.Topic)
		}
	}
	return names
}

// logReady tells whether the log takes events.
func (p *parts) logReady(ctx context.Context) error {
	if p.broker != nil {
		return p.broker.Room(0)
	}
	return reachLog(ctx, p.admin, p.wire, "")
}

// ends are the next offsets of an open log's partitions. The topic's identity is asked after its ends:
// if it is the log's still, so were they.
func ends(admin *kafkalog.Admin) func(ctx context.Context, l ledger.Log) (map[int32]int64, error) {
	return func(ctx context.Context, l ledger.Log) (map[int32]int64, error) {
		at, err := admin.HighWatermarks(ctx, l.Topic)
		if err != nil {
			return nil, err
		}
		t, err := admin.Topic(ctx, l.Topic)
		if err != nil {
			return nil, err
		}
		return at, sameIncarnation(l, t)
	}
}

// sameIncarnation refuses a topic that was made anew: its offsets mean something else than the ledger's.
func sameIncarnation(l ledger.Log, t kafkalog.Topic) error {
	if l.ClusterID == t.ClusterID && l.TopicID == t.TopicID {
		return nil
	}
	return fault.New(fault.Config, "topic_recreated", "topic %s was made anew: the ledger knows %s of cluster %s, the log has %s of cluster %s",
		l.Topic, l.TopicID, l.ClusterID, t.TopicID, t.ClusterID).
		WithAdvice("see what is lost and go on with the new one: pinflow topics accept-reset %s; or put the old one back", l.Stream)
}

// topicGone refuses to make a topic anew behind the back of a ledger that knows it.
func topicGone(l ledger.Log) error {
	return fault.New(fault.Config, "topic_gone", "the log has no topic %s any more, of which the ledger knows %s", l.Topic, l.TopicID).
		WithAdvice("see what is lost and make it anew: pinflow topics accept-reset %s; or put the old one back", l.Stream)
}

// samePartitions refuses a topic that does not have the partitions which the ledger names.
func samePartitions(l ledger.Log, t kafkalog.Topic) error {
	if l.Partitions == t.Partitions {
		return nil
	}
	return fault.New(fault.Config, "partitions_differ", "topic %s has %d partitions, the ledger names %d: records of the others would be read by nobody",
		l.Topic, t.Partitions, l.Partitions).
		WithAdvice("partitions are to grow by streams/%s.yaml and pinflow apply; take these in with: pinflow topics accept-reset %s", l.Stream, l.Stream)
}
