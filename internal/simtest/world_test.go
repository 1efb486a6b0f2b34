package simtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/kafkalog"
)

// world is a deployment in a bubble, the client that posts to it, and what the client was promised.
type world struct {
	t    *testing.T
	rnd  *rand.Rand
	dir  string
	nw   *kfake.VirtualNetwork
	log  *slog.Logger
	http *http.Client
	sky  weather

	stop  context.CancelFunc
	ended chan error

	truth  map[string]row // accepted events by id
	dead   int            // dead-lettered events
	unsure []event        // sent, answer unknown or not stored: to be sent again
	recent []event        // sent lately, for repeats
	posts  int
	next   int
}

// row is what the numbers must show of an event.
type row struct {
	day, category string
	minute        time.Time
	followers     int64
}

type event struct {
	id   string
	body string
	row  row
	dead bool
}

const base = "http://127.0.0.1:8080"

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 3)), dir: scratch(t), nw: &kfake.VirtualNetwork{},
		truth: map[string]row{},
	}
	out := io.Discard
	if testing.Verbose() && os.Getenv("PINFLOW_SIM_LOG") != "" {
		out = os.Stderr
	}
	w.log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.http = &http.Client{
		Transport: &http.Transport{DialContext: w.nw.DialContext, DisableKeepAlives: true},
		Timeout:   2 * time.Minute,
	}
	return w
}

// scratch is a folder in memory if there is one: the simulation is about order, not about disks.
func scratch(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "pinflow-sim")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "data")
}

// start runs the app on the folder and waits until it is ready.
func (w *world) start() {
	p, problems, err := config.Load(config.Options{
		Dir: filepath.Dir(w.dir), Environ: map[string]string{},
		Flags: []config.Flag{
			{Key: "data", Name: "--data", Value: w.dir},
			{Key: "listen", Name: "--listen", Value: "127.0.0.1:8080"},
			{Key: "log.listen", Name: "--log-listen", Value: "127.0.0.1:9092"},
		},
	})
	if err != nil || len(problems) > 0 {
		w.t.Fatalf("loading the project: %v %v", err, problems)
	}
	a, err := app.New(app.Config{
		Project: p, Version: "sim", Log: w.log, Listen: w.nw.Listen, Wire: w.wire,
		StageEvery: time.Minute, CommitEvery: 5 * time.Minute, FlushEvery: 5 * time.Second, MarkEvery: time.Minute, WatchEvery: time.Minute, JobEvery: 5 * time.Minute,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.stop, w.ended = cancel, make(chan error, 1)
	go func() { w.ended <- a.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-w.ended:
			w.t.Fatalf("the app ended: %v", err)
		default:
		}
		if resp, err := w.http.Get(base + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			w.t.Fatal("ten virtual minutes later still not ready")
		}
	}
}

// end stops the app as Ctrl-C does.
func (w *world) end() {
	w.stop()
	if err := <-w.ended; err != nil {
		w.t.Fatalf("stopping: %v", err)
	}
}

// wire lets the clients' connections break at random and the broker answer with errors.
func (w *world) wire(b *kafkalog.Broker, c kafkalog.Config) kafkalog.Config {
	dial := c.Dialer
	c.SessionTimeout = 5 * time.Minute // a heartbeat every 30 s
	rnd := rand.New(rand.NewPCG(w.rnd.Uint64(), 4))
	c.Dialer = func(ctx context.Context, network, host string) (net.Conn, error) {
		conn, err := dial(ctx, network, host)
		if err != nil {
			return nil, err
		}
		return &brittle{Conn: conn, sky: &w.sky, rnd: w.sky.fork(rnd)}, nil
	}
	w.refuse(b, kmsg.JoinGroup, func(r kmsg.Request) kmsg.Response {
		resp := r.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode = kerr.CoordinatorNotAvailable.Code
		return resp
	})
	w.refuse(b, kmsg.Heartbeat, func(r kmsg.Request) kmsg.Response {
		resp := r.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = kerr.UnknownMemberID.Code // fenced: the member loses its partitions
		return resp
	})
	return c
}

// refuse answers one in so many requests of a key with an error of the protocol.
func (w *world) refuse(b *kafkalog.Broker, key kmsg.Key, answer func(kmsg.Request) kmsg.Response) {
	rnd := rand.New(rand.NewPCG(uint64(key), w.rnd.Uint64()))
	b.InterceptAll(key, func(r kmsg.Request) (kmsg.Response, error, bool) {
		if !w.sky.strikes(rnd, key.Name(), 40) {
			return nil, nil, false
		}
		return answer(r), nil, true
	})
}

// brittle is a connection that breaks now and then: before a request is out, or before its reply is in,
// so that what was appended is not known to be.
type brittle struct {
	net.Conn
	sky *weather
	rnd *rand.Rand
}

func (c *brittle) breaks(what string, oneIn int) error {
	if !c.sky.strikes(c.rnd, what, oneIn) {
		return nil
	}
	c.Close()
	return fmt.Errorf("the connection broke at a %s", what)
}

func (c *brittle) Read(p []byte) (int, error) {
	if err := c.breaks("read", 60); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *brittle) Write(p []byte) (int, error) {
	if err := c.breaks("write", 60); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// make makes an event: some late, some too old to be a row, some broken.
func (w *world) make() event {
	w.next++
	now := time.Now().UTC()
	at := now.Add(-time.Duration(w.rnd.Int64N(int64(30 * time.Second))))
	if w.rnd.IntN(20) == 0 {
		at = now.Add(-time.Duration(w.rnd.Int64N(int64(72 * time.Hour))))
	}
	e := event{id: fmt.Sprintf("e-%06d", w.next)}
	e.row = row{at.Format(time.DateOnly), []string{"travel", "art", "finance", "home"}[w.rnd.IntN(4)], at.Truncate(time.Minute), w.rnd.Int64N(100_000)}
	followers := strconv.FormatInt(e.row.followers, 10)
	switch w.rnd.IntN(50) {
	case 0:
		e.dead, followers = true, "many"
	case 1:
		e.dead, at = true, now.Add(time.Hour)
	}
	e.body = fmt.Sprintf(`{"event_id":%q,"event_time":%q,"category":%q,"follower_count":%q,"poster_name":"é\u0000 %d","mood":%q,"score":%d}`,
		e.id, at.Format(time.RFC3339Nano), e.row.category, followers, w.next, []string{"good", "bad"}[w.next%2], w.next%10)
	return e
}

// post sends new events, what is unsure, and now and then a repeat.
func (w *world) post(n int) {
	batch := w.unsure
	w.unsure = nil
	for range n {
		e := w.make()
		batch = append(batch, e)
		w.recent = append(w.recent, e)
	}
	if w.rnd.IntN(10) == 0 && len(w.recent) > 5 {
		batch = append(batch, w.recent[len(w.recent)-5:]...)
	}
	w.recent = w.recent[max(0, len(w.recent)-20):]
	w.send(batch)
}

func (w *world) send(batch []event) {
	var body bytes.Buffer
	for _, e := range batch {
		body.WriteString(e.body + "\n")
	}
	w.posts++
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, base+"/v1/streams/pin/events?results=all", &body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := w.http.Do(req)
	if err != nil {
		w.unsure = append(w.unsure, batch...)
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.unsure = append(w.unsure, batch...)
		return
	}
	var answer struct {
		Results []struct {
			Index  int    `json:"index"`
			Status string `json:"status"`
			Code   string `json:"code"`
		} `json:"results"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || len(answer.Results) != len(batch) {
		if resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusTooManyRequests {
			w.unsure = append(w.unsure, batch...)
			return
		}
		w.t.Fatalf("posting %d events: %s: %s", len(batch), resp.Status, text)
	}
	for _, r := range answer.Results {
		w.book(batch[r.Index], r.Status)
	}
}

// book notes what was promised of an event. Only the first promise counts: the others are repeats.
func (w *world) book(e event, status string) {
	if _, known := w.truth[e.id]; known && status == "accepted" {
		return
	}
	switch {
	case status == "retry":
		w.unsure = append(w.unsure, e)
	case status == "accepted" && !e.dead:
		w.truth[e.id] = e.row
	case status == "dead_lettered" && e.dead:
		w.dead++
	default:
		w.t.Fatalf("event %s (%s) is %s", e.id, e.body, status)
	}
}
