package emulate

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

// asker asks a server.
type asker struct {
	url, key string
	client   *http.Client
}

func newAsker(url, key string, client *http.Client) *asker {
	if client == nil {
		client = &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{}}
	}
	return &asker{url: strings.TrimSuffix(url, "/"), key: key, client: client}
}

const (
	askTries = 5
	askPause = 300 * time.Millisecond
)

// get asks for a path and hands the body to read, again when the server is away for a moment.
func (a *asker) get(ctx context.Context, path string, q url.Values, read func(io.Reader) error) error {
	var err error
	for range askTries {
		if err = a.once(ctx, path, q, read); err == nil || !fault.Is(err, fault.Transient) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(askPause):
		}
	}
	return err
}

func (a *asker) once(ctx context.Context, path string, q url.Values, read func(io.Reader) error) error {
	address := a.url + path
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fault.New(fault.Config, "bad_url", "asking %s: %w", address, err).WithExit(fault.ExitUsage)
	}
	if a.key != "" {
		req.Header.Set("Authorization", "Bearer "+a.key)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return fault.New(fault.Transient, "unreachable", "asking %s: %w", address, err).WithExit(fault.ExitUnreachable)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused(address, resp)
	}
	if err := read(resp.Body); err != nil {
		return fault.New(fault.Transient, "bad_answer", "reading the answer of %s: %w", address, err)
	}
	return nil
}

func refused(address string, resp *http.Response) error {
	var p struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || json.Unmarshal(text, &p) != nil {
		p.Detail = resp.Status
	}
	kind := fault.Unknown
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		kind = fault.Transient
	}
	if p.Code == "" {
		p.Code = "refused"
	}
	return fault.New(kind, p.Code, "%s answers %d: %s", address, resp.StatusCode, p.Detail)
}

func (a *asker) json(ctx context.Context, path string, q url.Values, into any) error {
	return a.get(ctx, path, q, func(r io.Reader) error {
		dec := json.NewDecoder(r)
		dec.UseNumber()
		return dec.Decode(into)
	})
}

// digest is what the lake holds of a stream, day by day.
type digest struct {
	Days []struct {
		Day    string                 `json:"day"`
		Rows   int64                  `json:"rows"`
		IDs    string                 `json:"ids"`
		Longs  map[string]json.Number `json:"longs"`
		Floats map[string]float64     `json:"floats"`
	} `json:"days"`
}

func (a *asker) digest(ctx context.Context, stream string) (d digest, err error) {
	err = a.json(ctx, "/v1/lake/"+url.PathEscape(stream)+"/digest", nil, &d)
	return d, err
}

// ids counts the event ids of a stream's day in the lake.
func (a *asker) ids(ctx context.Context, stream, date string) (map[string]int, error) {
	var held map[string]int
	err := a.get(ctx, "/v1/lake/"+url.PathEscape(stream)+"/ids", url.Values{"day": {date}}, func(r io.Reader) error {
		held = map[string]int{}
		in := bufio.NewReader(r)
		for {
			text, err := in.ReadBytes('\n')
			if len(text) == 0 && errors.Is(err, io.EOF) {
				return nil
			}
			var id string
			if err := json.Unmarshal(text, &id); err != nil {
				return fmt.Errorf("reading an id: %w", err)
			}
			held[id]++
		}
	})
	return held, err
}

// status is what verification needs of GET /v1/status.
type status struct {
	At      time.Time `json:"at"`
	Streams []struct {
		Name         string       `json:"name"`
		CompleteTo   *time.Time   `json:"complete_to"`
		Conservation conservation `json:"conservation"`
		Partitions   []struct {
			Topic        string       `json:"topic"`
			Partition    int32        `json:"partition"`
			Dead         bool         `json:"dead"`
			Closed       bool         `json:"closed"`
			End          *int64       `json:"end"`
			Batch        *unitStatus  `json:"batch"`
			Live         *unitStatus  `json:"live"`
			Conservation conservation `json:"conservation"`
		} `json:"partitions"`
	} `json:"streams"`
}

type unitStatus struct {
	Position int64 `json:"position"`
	Counts   struct {
		Rows       int64 `json:"rows"`
		Dead       int64 `json:"dead"`
		Duplicates int64 `json:"duplicates"`
	} `json:"counts"`
}

type conservation struct {
	Accepted    int64 `json:"accepted"`
	Rows        int64 `json:"rows"`
	Dead        int64 `json:"dead"`
	Duplicates  int64 `json:"duplicates"`
	Gaps        int64 `json:"gaps"`
	Lost        int64 `json:"lost"`
	InFlight    int64 `json:"in_flight"`
	Uncommitted int64 `json:"uncommitted"`
	OK          bool  `json:"ok"`
}
