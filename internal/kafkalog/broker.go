package kafkalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/pinflow/pinflow/internal/fault"
)

// BrokerConfig configures the embedded broker. Zero values mean the defaults named.
type BrokerConfig struct {
	Dir    string // data folder; the caller holds its lock
	Listen string // Kafka port; "": no port, in-process clients only. Loopback only, unless clients log in
	Login  *Login // what clients of the Kafka port have to know; nil: nothing
	// Advertise is the address that clients are told to connect to; "": that of the port.
	Advertise string
	Cap       int64 // bytes of log beyond which producers are refused; 512 MiB
	MinFree   int64 // bytes of disk to leave free; 64 MiB, -1: none

	SegmentBytes int64         // truncation frees whole segments; a 64th of Cap, 64 KiB to 8 MiB
	MaxBatch     int32         // bytes of one record batch; 8 MiB
	MaxFrame     int32         // bytes of one request through the Kafka port; 16 MiB
	MaxConns     int           // connections through the Kafka port; 256
	FrameTimeout time.Duration // for the rest of a frame after its first byte, and for a reply; 30 s
	IdleTimeout  time.Duration // between two frames; 10 min

	ListenFn func(network, addr string) (net.Listener, error) // net.Listen; a virtual network in tests
}

func (c *BrokerConfig) setDefaults() {
	if c.Cap == 0 {
		c.Cap = 512 << 20
	}
	if c.MinFree == 0 {
		c.MinFree = 64 << 20
	}
	if c.SegmentBytes == 0 {
		// The segment that a partition appends to is never freed: together they must stay far below Cap.
		c.SegmentBytes = min(max(c.Cap/64, 64<<10), 8<<20)
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = 8 << 20
	}
	if c.MaxFrame == 0 {
		c.MaxFrame = 16 << 20
	}
	if c.MaxConns == 0 {
		c.MaxConns = 256
	}
	if c.FrameTimeout == 0 {
		c.FrameTimeout = 30 * time.Second
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 10 * time.Minute
	}
	if c.ListenFn == nil {
		c.ListenFn = net.Listen
	}
}

// Broker is the embedded log: one kfake broker on disk, reached in process by Config's dialer and
// from outside through the guard only.
//
// An append that cannot be written is refused. kfake does not look at what fsync returns, though: a
// disk that takes a write and fails to sync it is noticed by the next write only.
type Broker struct {
	cfg       BrokerConfig
	log       *slog.Logger
	cluster   *kfake.Cluster
	inner     *memListener
	guard     *guard // nil without a Kafka port
	clusterID string
	cuts      []Cut
	closing   sync.Once
	closeErr  error

	mu       sync.Mutex
	measured time.Time
	used     int64
	free     int64
	refused  int64 // bytes that had no room at last; 0: nothing is refused
}

// measureEvery bounds how old the figures for the cap may be.
const measureEvery = 100 * time.Millisecond

// OpenBroker repairs what a crash left, starts the broker on cfg.Dir and opens the Kafka port.
// Errors: fault.Config for a port that is taken or not loopback, and a folder that cannot be written;
// fault.Corrupt when a segment is damaged elsewhere than at its end.
func OpenBroker(ctx context.Context, cfg BrokerConfig, log *slog.Logger) (*Broker, error) {
	cfg.setDefaults()
	if err := checkLoopback(cfg.Listen); err != nil && cfg.Login == nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fault.New(fault.Config, "data_not_writable", "making the log's folder: %w", err)
	}
	cuts, err := recoverDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	for _, c := range cuts {
		log.Warn("the log's end was torn by a crash and has been cut: nothing acknowledged was in it",
			"partition", c.Partition, "segment", c.Segment, "bytes", c.Bytes)
	}
	b := &Broker{cfg: cfg, log: log, cuts: cuts}
	var outer net.Listener
	var addr net.Addr = memAddr{}
	if cfg.Listen != "" {
		if outer, err = cfg.ListenFn("tcp", cfg.Listen); fault.KindOf(err) != fault.Unknown {
			return nil, err
		} else if err != nil {
			return nil, fault.New(fault.Config, "port_taken", "listening on %s for Kafka clients: %w", cfg.Listen, err)
		}
		addr = outer.Addr()
		if cfg.Advertise != "" {
			addr = advertised(cfg.Advertise)
		}
	}
	b.inner = newMemListener(addr)
	if err := b.start(ctx, outer); err != nil {
		return nil, errors.Join(err, b.abandon(outer))
	}
	return b, nil
}

func (b *Broker) start(ctx context.Context, outer net.Listener) error {
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID(uuid.NewString()), // kept in the folder from the first start on
		kfake.DefaultNumPartitions(2),
		kfake.DataDir(b.cfg.Dir),
		kfake.SyncWrites(),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return b.inner, nil }),
		kfake.WithLogger(brokerLogger{b.log}),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes": strconv.FormatInt(b.cfg.SegmentBytes, 10),
			"message.max.bytes": strconv.FormatInt(int64(b.cfg.MaxBatch), 10),
		}),
	)
	if err != nil {
		return fault.New(fault.Corrupt, "log_unreadable", "starting the embedded broker on %s: %w", b.cfg.Dir, err)
	}
	b.cluster = cluster
	if b.Bytes() > 64<<20 {
		debug.FreeOSMemory() // the start held the whole log once
	}
	if err := b.syncFolders(); err != nil {
		return err
	}
	if b.clusterID, err = clusterID(ctx, b.Client()); err != nil {
		return err
	}
	if outer == nil {
		return nil
	}
	if b.guard, err = newGuard(ctx, b, outer); err != nil {
		return err
	}
	b.guard.run()
	return nil
}

// abandon undoes a start that failed.
func (b *Broker) abandon(outer net.Listener) error {
	if b.cluster != nil {
		b.cluster.Close()
	}
	if outer != nil {
		return outer.Close()
	}
	return nil
}

// Addr is the address of the Kafka port, "" without one.
func (b *Broker) Addr() string {
	if b.guard == nil {
		return ""
	}
	return b.guard.ln.Addr().String()
}

// ClusterID names this log for ever: it is kept in the data folder.
func (b *Broker) ClusterID() string { return b.clusterID }

// Cuts lists the torn ends that this start has cut.
func (b *Broker) Cuts() []Cut { return b.cuts }

// Client is the configuration of clients inside the process: they bypass the Kafka port.
func (b *Broker) Client() Config {
	return Config{
		Brokers:  []string{b.inner.addr.String()},
		Dialer:   func(ctx context.Context, _, _ string) (net.Conn, error) { return b.inner.dial(ctx) },
		Embedded: true,
		MaxBatch: b.cfg.MaxBatch / 2,
		Room:     b.Room,
		Created:  b.topicDurable,
	}
}

// Close ends every connection, writes what is held and stops the broker. Clients should be closed first.
func (b *Broker) Close() error {
	b.closing.Do(func() {
		if b.guard != nil {
			b.closeErr = b.guard.close()
		}
		b.cluster.Close()
	})
	return b.closeErr
}

// Truncate deletes the records of a partition below before, except the last record of all: with none
// left, offsets would start again at 0 after a crash. Space is freed by whole segments.
func (b *Broker) Truncate(_ context.Context, topic string, partition int32, before int64) error {
	info := b.cluster.PartitionInfo(topic, partition)
	if info == nil {
		return fault.New(fault.Config, "unknown_topic", "truncating %s/%d: there is no such partition", topic, partition)
	}
	before = min(before, info.HighWatermark-1, info.LastStableOffset)
	if before <= info.LogStartOffset {
		return nil
	}
	if err := b.cluster.DeleteRecords(topic, partition, before); err != nil {
		return fmt.Errorf("truncating %s/%d below %d: %w", topic, partition, before, err)
	}
	b.mu.Lock()
	b.measured = time.Time{}
	b.mu.Unlock()
	return nil
}

// Bytes is the size of the log on disk, at most a moment old.
func (b *Broker) Bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.measure()
	return b.used
}

// Cap is the size at which producers are refused.
func (b *Broker) Cap() int64 { return b.cfg.Cap }

// Room tells whether n more bytes may be appended: nil, or fault.Transient with code log_full when
// the log would pass its cap or the disk its margin. Room(0) asks for what was refused last: whether
// producers are still refused.
func (b *Broker) Room(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.measure()
	take := n
	if n == 0 {
		n = b.refused
	}
	var err *fault.Error
	switch {
	case b.used+n > b.cfg.Cap:
		err = fault.New(fault.Transient, "log_full", "the log holds %d of %d bytes", b.used, b.cfg.Cap).
			WithAdvice("Wait for the units to catch up, or raise log.cap")
	case b.cfg.MinFree > 0 && b.free-n < b.cfg.MinFree:
		err = fault.New(fault.Transient, "log_full", "the disk has %d bytes free, %d must stay", b.free, b.cfg.MinFree).
			WithAdvice("Free space on the disk of %s", b.cfg.Dir)
	default:
		b.used += take
		b.free -= take
		b.refused = 0
		return nil
	}
	if b.refused == 0 {
		b.log.Warn("producers are refused", "err", err)
	}
	b.refused = max(n, 1)
	return err
}

// measure refreshes the figures if they are old. A figure that cannot be had counts as full: refusing
// is safe, a torn write is not.
func (b *Broker) measure() {
	if !b.measured.IsZero() && time.Since(b.measured) < measureEvery {
		return
	}
	b.measured = time.Now()
	used, err := segmentBytes(b.cfg.Dir)
	if err != nil {
		b.log.Error("measuring the log", "err", err)
		used = b.cfg.Cap
	}
	free, err := freeBytes(b.cfg.Dir)
	if err != nil {
		b.log.Error("measuring the disk", "err", err)
		free = 0
	}
	b.used, b.free = used, free
}

func segmentBytes(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(filepath.Join(dir, partitionsDir), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err) // truncated meanwhile
		}
		sum += info.Size()
		return nil
	})
	return sum, err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// topicDurable makes sure that a topic is on disk: kfake goes on without when it cannot write its list
// of topics, and its records would be gone at the next start.
func (b *Broker) topicDurable(topic string) error {
	raw, err := os.ReadFile(filepath.Join(b.cfg.Dir, "topics.json"))
	if err != nil {
		return fmt.Errorf("reading the embedded log's topics: %w", err)
	}
	var on topicList
	if err := json.Unmarshal(raw, &on); err != nil {
		return fault.New(fault.Corrupt, "log_corrupt", "reading the embedded log's topics: %w", err)
	}
	for _, t := range on.Topics {
		if t.Name == topic {
			return b.syncFolders()
		}
	}
	return fault.New(fault.Config, "data_not_writable", "topic %s is not on disk", topic).
		WithAdvice("Free space on the disk of %s and start again", b.cfg.Dir)
}

// syncFolders makes names durable: kfake syncs files, not the folders that name them.
func (b *Broker) syncFolders() error {
	for _, dir := range []string{filepath.Dir(b.cfg.Dir), b.cfg.Dir, filepath.Join(b.cfg.Dir, partitionsDir)} {
		if err := syncFolder(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return ignoreGone(err)
	}
	return errors.Join(f.Sync(), f.Close())
}

// advertised is an address by name.
type advertised string

func (a advertised) Network() string { return "tcp" }
func (a advertised) String() string  { return string(a) }

func checkLoopback(addr string) error {
	if addr == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fault.New(fault.Config, "bad_address", "log.listen %q: %w", addr, err)
	}
	if host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	return fault.New(fault.Config, "kafka_port_open", "log.listen %s is not a loopback address and the port has no SASL", addr).
		WithAdvice("Set log.sasl, use 127.0.0.1, or an Apache Kafka with log.kind: kafka")
}

// brokerLogger passes kfake's warnings on.
type brokerLogger struct{ log *slog.Logger }

func (l brokerLogger) Logf(level kfake.LogLevel, msg string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("embedded broker: " + fmt.Sprintf(msg, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("embedded broker: " + fmt.Sprintf(msg, args...))
	default:
	}
}
