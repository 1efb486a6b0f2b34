package kafkalog

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pinflow/pinflow/internal/fault"
)

// Config says how to reach a log. Broker.Client fills it for the embedded one.
type Config struct {
	Brokers  []string
	Dialer   func(ctx context.Context, network, host string) (net.Conn, error) // nil: TCP
	TLS      *tls.Config                                                       // nil: none; not used with a Dialer
	Login    *Login                                                            // nil: no SASL
	Embedded bool
	ClientID string // pinflow
	// Instance names this process to the consumer groups for ever (static membership): a killed process
	// that comes back under it gets its partitions at once. "": a member like any other.
	Instance string

	MaxBatch        int32         // bytes of a record batch; 4 MiB, which the topic must allow
	MaxInFlight     int64         // bytes a producer holds at once; 64 MiB
	DeliveryTimeout time.Duration // longest wait for the broker's answer; 30 s
	SessionTimeout  time.Duration // of group members; 10 s

	Room    func(bytes int64) error  // asked before an append; nil: always
	Created func(topic string) error // makes sure that a topic is durable; nil: it is
}

func (c *Config) setDefaults() {
	if c.ClientID == "" {
		c.ClientID = "pinflow"
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = 4 << 20
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 64 << 20
	}
	if c.DeliveryTimeout == 0 {
		c.DeliveryTimeout = 30 * time.Second
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = 10 * time.Second
	}
}

// maxInflatedBatch bounds what a batch may decompress to; the guard refuses larger ones.
const maxInflatedBatch = 64 << 20

// newClient makes a client. Connections are made when first needed.
func newClient(cfg Config, log *slog.Logger, opts ...kgo.Opt) (*kgo.Client, error) {
	base := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID(cfg.ClientID),
		kgo.SoftwareNameAndVersion("pinflow", "1"),
		kgo.DisableClientMetrics(),
		kgo.WithLogger(clientLogger{log}),
		kgo.MaxDecompressBatchBytes(maxInflatedBatch),
		kgo.MetadataMinAge(250 * time.Millisecond), // how soon a new topic is seen
		kgo.MetadataMaxAge(time.Minute),
	}
	if cfg.Dialer != nil {
		base = append(base, kgo.Dialer(cfg.Dialer))
	}
	secure, err := cfg.security()
	if err != nil {
		return nil, err
	}
	base = append(base, secure...)
	cl, err := kgo.NewClient(append(base, opts...)...)
	if err != nil {
		return nil, fault.New(fault.Config, "bad_log_config", "making a client of the log: %w", err)
	}
	return cl, nil
}

// clusterID asks a cluster for its id.
func clusterID(ctx context.Context, cfg Config) (string, error) {
	cfg.setDefaults()
	cl, err := newClient(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	defer cl.Close()
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl)
	if err != nil {
		return "", fmt.Errorf("asking the log for its cluster id: %w", err)
	}
	if resp.ClusterID == nil {
		return "", fault.New(fault.Config, "no_cluster_id", "the log tells no cluster id")
	}
	return *resp.ClusterID, nil
}

// clientLogger passes the client's log on, one level quieter: its retries are ordinary.
type clientLogger struct{ log *slog.Logger }

func (l clientLogger) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

func (l clientLogger) Log(level kgo.LogLevel, msg string, kv ...any) {
	to := slog.LevelDebug
	if level == kgo.LogLevelError {
		to = slog.LevelWarn
	}
	l.log.Log(context.Background(), to, "log client: "+msg, kv...)
}
