package kafkalog

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
)

// Producer appends records and tells each one's fate.
//
// The embedded broker gets plain writes, one request in flight: stock kfake notes a sequence number
// before the append it belongs to, so that after a failed append it would acknowledge the repeat of
// an idempotent producer without storing it.
type Producer struct {
	cfg  Config
	cl   *kgo.Client
	held atomic.Int64
	sent atomic.Int64 // produce requests that began to leave

	refused sync.Map // topic → error
}

// NewProducer makes a Producer; nothing is connected yet.
func NewProducer(cfg Config, log *slog.Logger) (*Producer, error) {
	cfg.setDefaults()
	p := &Producer{cfg: cfg}
	dial := cfg.Dialer
	switch {
	case dial != nil:
	case cfg.TLS != nil:
		dial = (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: cfg.TLS}).DialContext
	default:
		dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	cfg.Dialer = func(ctx context.Context, network, host string) (net.Conn, error) {
		c, err := dial(ctx, network, host)
		if err != nil {
			return nil, err
		}
		return &countingConn{Conn: c, sent: &p.sent}, nil
	}
	opts := []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(cfg.MaxBatch),
		kgo.ProducerLinger(0), // while a request is in flight the next batch gathers
		kgo.RecordDeliveryTimeout(cfg.DeliveryTimeout),
		kgo.ProduceRequestTimeout(cfg.DeliveryTimeout),
		kgo.MaxBufferedRecords(1 << 30), // held is the limit
	}
	if cfg.Embedded {
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1),
			kgo.ProducerBatchCompression(kgo.NoCompression()))
	} else {
		opts = append(opts, kgo.AllowIdempotentProduceCancellation(),
			kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()))
	}
	var err error
	p.cl, err = newClient(cfg, log, opts...)
	return p, err
}

// Refuse takes no more records for a topic, because of why; nil takes them again, for whatever incarnation
// of the topic there is then: until now the client was bound to the one that it met first.
func (p *Producer) Refuse(topic string, why error) {
	if why != nil {
		p.refused.Store(topic, why)
		return
	}
	p.cl.PurgeTopicsFromClient(topic)
	p.refused.Delete(topic)
}

// Close gives up what is still held. Appends in progress end with their fate unknown.
func (p *Producer) Close() { p.cl.Close() }

// InFlight is the bytes held for appends in progress.
func (p *Producer) InFlight() int64 { return p.held.Load() }

// recordOverhead is what a record is counted for beyond its texts: its frame, the names and numbers of
// its headers, and, as it may be alone in its batch, the batch's header and entry in the index. What is
// counted is never less than what the log will hold, else the log passes its cap.
const recordOverhead = 208

// sizeOf is the bytes that a record is counted for, in the producer's share and in the log.
func sizeOf(r *event.Record) int64 {
	return recordOverhead + int64(len(r.Value)+len(r.Partition)+len(r.ID)+len(r.Reason)+len(r.Path)+len(r.Message))
}

// Append hands records to the log and waits until each one's fate is known, or ctx ends. The answer
// is nil when all are durable, else one entry a record: nil is durable; fault.Transient was never
// handed over (code not_stored, or log_full); fault.Ambiguous (code unknown) may be stored or not;
// fault.Record (code too_large) never can be. A record's partition must exist; its offset is noted in
// it when it is durable.
func (p *Producer) Append(ctx context.Context, topic string, recs []event.Record) []error {
	if len(recs) == 0 {
		return nil
	}
	size := int64(0)
	for i := range recs {
		size += sizeOf(&recs[i])
	}
	if why, ok := p.refused.Load(topic); ok {
		return allErrors(len(recs), fault.New(fault.Transient, "not_stored", "topic %s is refused: %w", topic, why.(error)))
	}
	if err := p.admit(ctx, size); err != nil {
		return allErrors(len(recs), err)
	}
	a := &appending{p: p, out: make([]kgo.Record, len(recs)), done: make(chan struct{}), size: size, sent: p.sent.Load()}
	a.left.Store(int64(len(recs)))
	enc := newEncoder(len(recs))
	for i := range recs {
		enc.encode(topic, &recs[i], &a.out[i])
	}
	answered := a.answered // one closure for all
	for i := range a.out {
		p.cl.TryProduce(context.Background(), &a.out[i], answered)
	}
	select {
	case <-a.done:
		for i := range recs {
			recs[i].Offset = a.out[i].Offset
		}
		return a.failed
	case <-ctx.Done():
		return allErrors(len(recs), fault.New(fault.Ambiguous, "unknown", "waiting for the log: %w", ctx.Err()))
	}
}

// admit takes size bytes of the producer's share, and asks whether the log has room.
func (p *Producer) admit(ctx context.Context, size int64) error {
	if err := ctx.Err(); err != nil {
		return fault.New(fault.Transient, "not_stored", "appending: %w", err)
	}
	if p.cfg.Room != nil {
		if err := p.cfg.Room(size); err != nil {
			return err
		}
	}
	if held := p.held.Add(size); held > p.cfg.MaxInFlight && held != size {
		p.held.Add(-size)
		return fault.New(fault.Transient, "not_stored", "%d bytes are on their way to the log already", held-size)
	}
	return nil
}

func allErrors(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// appending is one Append under way.
type appending struct {
	p    *Producer
	out  []kgo.Record
	size int64
	sent int64 // produce requests that had begun before it
	left atomic.Int64
	done chan struct{}

	mu     sync.Mutex
	failed []error
}

func (a *appending) answered(r *kgo.Record, err error) {
	if err != nil {
		a.fail(r, err)
	}
	if a.left.Add(-1) == 0 {
		a.p.held.Add(-a.size)
		close(a.done)
	}
}

func (a *appending) fail(r *kgo.Record, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = make([]error, len(a.out))
	}
	for i := range a.out {
		if &a.out[i] == r {
			a.failed[i] = a.p.class(err, a.sent)
			return
		}
	}
}

// class says what a failed append means. Only a record that no request can have carried is known not
// to be stored: the broker may refuse a repeat whose first try it had stored.
func (p *Producer) class(err error, sent int64) error {
	switch {
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return fault.New(fault.Record, "too_large", "the log takes no record of this size: %w", err)
	case p.sent.Load() == sent:
		p.cl.ForceMetadataRefresh() // the partition may be new
		return fault.New(fault.Transient, "not_stored", "the log could not be reached: %w", err)
	}
	return fault.New(fault.Ambiguous, "unknown", "the log did not answer: %w", err)
}

// countingConn counts produce requests before they leave.
type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	if len(b) >= 6 && binary.BigEndian.Uint16(b[4:]) == uint16(kmsg.Produce) {
		c.sent.Add(1)
	}
	return c.Conn.Write(b)
}
