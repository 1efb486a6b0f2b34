package client

import (
	"bytes"
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

// Config says where the server is.
type Config struct {
	URL       string // http://127.0.0.1:8080
	Key       string // API key; "" none
	UserAgent string
}

// Client talks to one server.
type Client struct {
	base  *url.URL
	key   string
	agent string
	http  *http.Client
}

// New checks cfg; it does not connect.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fault.New(fault.Config, "bad_url", "%q is not the address of a server", cfg.URL).
			WithAdvice("write it like http://127.0.0.1:8080").WithExit(fault.ExitUsage)
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
	}
	return &Client{base: u, key: cfg.Key, agent: cfg.UserAgent, http: &http.Client{Transport: t}}, nil
}

// URL is the server's address.
func (c *Client) URL() string { return strings.TrimSuffix(c.base.String(), "/") }

// maxAnswer bounds what is read of one answer.
const maxAnswer = 256 << 20

// Get asks for a path, whose parts are escaped (url.PathEscape), and decodes the JSON answer.
func (c *Client) Get(ctx context.Context, path string, q url.Values, into any) error {
	body, err := c.GetRaw(ctx, path, q)
	if err != nil {
		return err
	}
	return c.decode(path, body, into)
}

// Post sends a value as JSON and decodes the JSON answer into another. A nil value sends nothing.
func (c *Client) Post(ctx context.Context, path string, v, into any) error {
	var body io.Reader
	kind := ""
	if v != nil {
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("asking %s: %w", c.URL(), err)
		}
		body, kind = bytes.NewReader(text), "application/json"
	}
	resp, err := c.do(ctx, http.MethodPost, path, nil, body, kind)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return c.refusal(resp)
	}
	answer, err := c.read(resp)
	if err != nil {
		return err
	}
	return c.decode(path, answer, into)
}

func (c *Client) decode(path string, answer []byte, into any) error {
	if err := json.Unmarshal(answer, into); err != nil {
		return fault.New(fault.Unknown, "bad_answer", "reading the answer of %s%s: %w", c.URL(), path, err).
			WithAdvice("check that this is the address of a pinflow of this release")
	}
	return nil
}

// Reach finds out whether a pinflow answers.
func (c *Client) Reach(ctx context.Context) error {
	_, err := c.GetRaw(ctx, "/version", nil)
	return err
}

// GetRaw asks for a path and returns the answer as it came.
func (c *Client) GetRaw(ctx context.Context, path string, q url.Values) ([]byte, error) {
	resp, err := c.do(ctx, http.MethodGet, path, q, nil, "")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return nil, c.refusal(resp)
	}
	return c.read(resp)
}

func (c *Client) read(resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", c.URL(), err)
	}
	return body, nil
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, body io.Reader, contentType string, headers ...string) (*http.Response, error) {
	u := *c.base
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", c.URL(), err)
	}
	// RawPath, so that a name with a slash in it stays one part of the path.
	u.RawPath = strings.TrimSuffix(u.EscapedPath(), "/") + path
	u.Path = strings.TrimSuffix(u.Path, "/") + plain
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", c.URL(), err)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if c.agent != "" {
		req.Header.Set("User-Agent", c.agent)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fault.New(fault.Transient, "unreachable", "no pinflow answers at %s: %w", c.URL(), err).
			WithAdvice("start one with `pinflow up`, or name its address with --url").WithExit(fault.ExitUnreachable)
	}
	return resp, nil
}

// Problem is the body of an error answer (application/problem+json).
type Problem struct {
	Status    int      `json:"status"`
	Title     string   `json:"title"`
	Code      string   `json:"code"`
	Detail    string   `json:"detail"`
	RequestID string   `json:"request_id"`
	Errors    []Detail `json:"errors"`
}

// Detail is one of several things wrong with a request.
type Detail struct {
	Path       string `json:"path"`
	Line       int    `json:"line"`
	Message    string `json:"message"`
	Suggestion string `json:"suggestion"`
}

// refusal makes a fault of an error answer.
func (c *Client) refusal(resp *http.Response) error {
	body, err := c.read(resp)
	if err != nil {
		return err
	}
	p := Problem{}
	if json.Unmarshal(body, &p) != nil || p.Detail == "" && p.Title == "" && len(p.Errors) == 0 {
		p = Problem{Title: "the server answered " + resp.Status}
	}
	says := p.Detail
	if says == "" {
		says = p.Title
	}
	for _, e := range p.Errors {
		if e.Message == "" || strings.Contains(says, e.Message) {
			continue
		}
		says += "; " + e.Message
		if e.Suggestion != "" {
			says += ": " + e.Suggestion
		}
	}
	if resp.StatusCode == http.StatusInternalServerError && p.RequestID != "" {
		says += " " + p.RequestID
	}
	f := fault.New(fault.Unknown, p.Code, "%s", says)
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		f.Kind = fault.Config
		f = f.WithExit(fault.ExitFailed)
		if p.Code != "host_not_allowed" && p.Code != "foreign_origin" {
			f = f.WithAdvice("give a key with --api-key-file or PINFLOW_API_KEY")
		}
	case p.Code == "bad_parameter":
		f = f.WithExit(fault.ExitUsage)
	case resp.StatusCode == http.StatusConflict:
		f = f.WithExit(fault.ExitConflict)
	case resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusTooManyRequests:
		f.Kind = fault.Transient
	}
	if p.Code == "lake_behind" { // the answer would be exact, only not yet
		f = f.WithExit(fault.ExitNotComplete)
	}
	return f
}

// Sent is the answer to events that were sent.
type Sent struct {
	Status       int          `json:"-"` // HTTP status: 202, 207, 4xx, 5xx
	RequestID    string       `json:"request_id"`
	Accepted     int          `json:"accepted"`
	DeadLettered int          `json:"dead_lettered"`
	Rejected     int          `json:"rejected"`
	Retry        int          `json:"retry"`
	Results      []SentResult `json:"results"`
}

// SentResult is what became of one event.
type SentResult struct {
	Index        int    `json:"index"`
	ID           string `json:"id"`
	Status       string `json:"status"` // accepted | dead_lettered | rejected | retry
	Code         string `json:"code"`
	Path         string `json:"path"`
	Message      string `json:"message"`
	RetryAfterMS int    `json:"retry_after_ms"`
}

// Send posts events to a stream; sent again under the same key they count once. An answer that tells what
// became of each event is returned whatever its status is; any other refusal is an error:
// fault.Transient when the request was not taken, fault.Ambiguous when its answer was lost.
func (c *Client) Send(ctx context.Context, stream, contentType, key string, body []byte) (*Sent, error) {
	path := "/v1/streams/" + url.PathEscape(stream) + "/events"
	resp, err := c.do(ctx, http.MethodPost, path, nil, bytes.NewReader(body), contentType, "Idempotency-Key", key)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.Header.Get("Pinflow-Result") == "" && resp.StatusCode >= 300 {
		return nil, c.refusal(resp)
	}
	answer, err := c.read(resp)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fault.New(fault.Ambiguous, "unknown", "%w", err)
	}
	s := &Sent{Status: resp.StatusCode}
	if err := json.Unmarshal(answer, s); err != nil {
		return nil, fault.New(fault.Ambiguous, "bad_answer", "reading the answer of %s: %w", c.URL(), err)
	}
	return s, nil
}
