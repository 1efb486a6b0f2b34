package kafkalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"
)

// guard is the Kafka port: it reads requests itself and passes on only those that the embedded broker
// is known to bear. kfake allocates whatever size a frame claims and crashes on an unknown key.
type guard struct {
	b    *Broker
	ln   net.Listener
	log  *slog.Logger
	keys map[int16]keyRange
	mem  *semaphore.Weighted // bytes that requests in hand may take
	door *doorman            // nil: nobody has to log in

	wg    sync.WaitGroup
	ctx   context.Context //nolint:containedctx // ends with the guard, which is closed by close
	stop  context.CancelFunc
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// guardMemory bounds what the frames of all connections may take while they are in hand.
const guardMemory = 256 << 20

func newGuard(ctx context.Context, b *Broker, ln net.Listener) (*guard, error) {
	keys, err := servedKeys(ctx, b.inner)
	if err != nil {
		return nil, err
	}
	g := &guard{
		b: b, ln: ln, log: b.log, keys: keys, mem: semaphore.NewWeighted(guardMemory),
		conns: make(map[net.Conn]struct{}),
	}
	if l := b.cfg.Login; l != nil {
		if g.door, err = newDoorman(l); err != nil {
			return nil, err
		}
		g.keys[int16(kmsg.SASLHandshake)], g.keys[int16(kmsg.SASLAuthenticate)] = keyRange{1, 1}, keyRange{0, 2}
	}
	g.ctx, g.stop = context.WithCancel(context.WithoutCancel(ctx))
	return g, nil
}

func (g *guard) run() {
	g.wg.Go(func() {
		for {
			c, err := g.ln.Accept()
			if errors.Is(err, net.ErrClosed) || g.ctx.Err() != nil {
				return
			}
			if err != nil {
				g.log.Warn("accepting a Kafka client", "err", err)
				if !sleep(g.ctx, 100*time.Millisecond) {
					return
				}
				continue
			}
			if !g.admit(c) {
				_ = c.Close() // refused
				continue
			}
			g.wg.Go(func() {
				defer g.dismiss(c)
				g.serve(c)
			})
		}
	})
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (g *guard) admit(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) >= g.b.cfg.MaxConns || g.ctx.Err() != nil {
		return false
	}
	g.conns[c] = struct{}{}
	return true
}

func (g *guard) dismiss(c net.Conn) {
	_ = c.Close() // its end either way
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// close closes the port and its connections and waits for them to end.
func (g *guard) close() error {
	g.stop()
	err := g.ln.Close()
	g.mu.Lock()
	for c := range g.conns {
		_ = c.Close() // ends its goroutines
	}
	g.mu.Unlock()
	g.wg.Wait()
	return err
}

// frame is one request with its size prefix, and the memory it was charged for.
type frame struct {
	raw    []byte
	weight int64
}

// serve relays one client, one request at a time, as kfake itself does. Reading goes on meanwhile, so
// that a client that leaves during a long fetch is noticed.
func (g *guard) serve(c net.Conn) {
	back, err := g.b.inner.dial(g.ctx)
	if err != nil {
		return
	}
	defer back.Close()
	ctx, cancel := context.WithCancel(g.ctx)
	defer cancel()
	frames := make(chan frame)
	g.wg.Go(func() {
		defer close(frames)
		defer back.Close() // wakes relay
		if err := g.readFrames(ctx, c, frames); err != nil {
			g.log.Debug("a Kafka client was closed", "client", c.RemoteAddr(), "err", err)
		}
	})
	var v *visitor
	if g.door != nil {
		v = &visitor{d: g.door}
	}
	for f := range frames {
		err := g.relay(c, back, f.raw, v)
		g.mem.Release(f.weight)
		if err != nil {
			g.log.Debug("a Kafka client was closed", "client", c.RemoteAddr(), "err", err)
			break
		}
	}
	cancel()
	_ = c.Close() // ends readFrames
	for f := range frames {
		g.mem.Release(f.weight)
	}
}

var errFrame = errors.New("not a request of the Kafka protocol")

func (g *guard) readFrames(ctx context.Context, c net.Conn, out chan<- frame) error {
	for {
		f, err := g.readFrame(ctx, c)
		if err != nil {
			return err
		}
		select {
		case out <- f:
		case <-ctx.Done():
			g.mem.Release(f.weight)
			return nil
		}
	}
}

// readFrame reads size, key and version before it allocates for the rest, and judges them first.
func (g *guard) readFrame(ctx context.Context, c net.Conn) (frame, error) {
	var head [8]byte
	if err := c.SetReadDeadline(time.Now().Add(g.b.cfg.IdleTimeout)); err != nil {
		return frame{}, err
	}
	if _, err := io.ReadFull(c, head[:1]); err != nil {
		return frame{}, err
	}
	if err := c.SetReadDeadline(time.Now().Add(g.b.cfg.FrameTimeout)); err != nil {
		return frame{}, err
	}
	if _, err := io.ReadFull(c, head[1:]); err != nil {
		return frame{}, err
	}
	size := int64(int32(binary.BigEndian.Uint32(head[:])))
	key := int16(binary.BigEndian.Uint16(head[4:]))
	limit, weight := g.charge(key, size)
	if size < 8 || size > limit {
		return frame{}, fmt.Errorf("%w: key %d with %d bytes", errFrame, key, size)
	}
	if err := g.checkKey(key, int16(binary.BigEndian.Uint16(head[6:]))); err != nil {
		return frame{}, err
	}
	wait, cancel := context.WithTimeout(ctx, g.b.cfg.FrameTimeout)
	defer cancel()
	if err := g.mem.Acquire(wait, weight); err != nil {
		return frame{}, err
	}
	raw := make([]byte, 4+size)
	copy(raw, head[:])
	if _, err := io.ReadFull(c, raw[8:]); err != nil {
		g.mem.Release(weight)
		return frame{}, err
	}
	return frame{raw: raw, weight: weight}, nil
}

// charge returns the most bytes a request of this key may have, and what it is charged. A decoder
// makes up to some 60 bytes of every byte of a hostile array; produce requests are walked instead.
func (g *guard) charge(key int16, size int64) (limit, weight int64) {
	if key == int16(kmsg.Produce) {
		return int64(g.b.cfg.MaxFrame), min(4*size, guardMemory)
	}
	return 1 << 20, min(64*size, guardMemory)
}

// relay screens one request, passes it on and its answer back, or answers it itself.
func (g *guard) relay(c, back net.Conn, raw []byte, who *visitor) error {
	v, err := g.screen(raw, who)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(g.b.cfg.FrameTimeout)
	if err := c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if v.reply != nil {
		if _, err := c.Write(v.reply); err != nil || who == nil || !who.out {
			return err
		}
		return fmt.Errorf("%w: the log-in failed", errFrame)
	}
	if v.forward == nil {
		return nil
	}
	if _, err := back.Write(v.forward); err != nil {
		return err
	}
	if v.silent {
		return nil
	}
	var size [4]byte
	if _, err := io.ReadFull(back, size[:]); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(size[:]))
	if err := c.SetWriteDeadline(time.Now().Add(g.b.cfg.FrameTimeout)); err != nil {
		return err
	}
	if v.rewrite != nil {
		body := make([]byte, n)
		if _, err := io.ReadFull(back, body); err != nil {
			return err
		}
		body, err = v.rewrite(body)
		if err != nil {
			return err
		}
		_, err = c.Write(withSize(body))
		return err
	}
	if _, err := c.Write(size[:]); err != nil {
		return err
	}
	_, err = io.CopyN(c, back, n)
	return err
}

func withSize(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...)
}
