package icelake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	iceio "github.com/apache/iceberg-go/io"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pinflow/pinflow/internal/fault"
)

// S3 says how a bucket is reached.
type S3 struct {
	Endpoint  string // http:// or https:// URL; "": AWS
	Region    string // "": the bucket is asked
	PathStyle bool   // bucket in the path; false: as the endpoint likes it
	AccessKey string // "": environment, shared credentials file, the machine's role
	SecretKey string
	CAFile    string // certificates to trust; "": the system's
}

// pace says how often and how long an S3 request is tried.
type pace struct {
	tries   int
	first   time.Duration // longest first pause; it doubles
	longest time.Duration // longest pause
	attempt time.Duration // one try
}

var usualPace = pace{tries: 9, first: 100 * time.Millisecond, longest: 5 * time.Second, attempt: 30 * time.Second}

// partSize is how much of a file is held before it is sent: files up to it take one request.
const partSize = 16 << 20

// bucket is file IO for tables in an S3 bucket. A file that was closed without error is there for good;
// none is ever overwritten: every PUT asks that its key be new, and a repeat whose first try was taken
// after all finds its own mark on the object.
//
// The interface of iceberg-go has no contexts, so requests end by time, and all of them when the lake is closed.
type bucket struct {
	client *minio.Core
	name   string
	pace   pace
	log    *slog.Logger
	ctx    context.Context //nolint:containedctx // ends with the lake: the interface has none
	cancel context.CancelFunc
	// plain: the server does not know If-None-Match. Names are unique all the same.
	plain atomic.Bool
}

var _ storage = (*bucket)(nil)

// isS3 tells an s3:// location from a folder.
func isS3(at string) bool { return strings.HasPrefix(at, "s3://") }

// splitS3 returns bucket and key of a location.
func splitS3(at string) (name, key string, err error) {
	rest, ok := strings.CutPrefix(at, "s3://")
	if !ok {
		return "", "", fmt.Errorf("location %q is not in S3", at)
	}
	name, key, _ = strings.Cut(rest, "/")
	return name, key, nil
}

func newBucket(cfg S3, name string, log *slog.Logger) (*bucket, error) {
	endpoint := cfg.Endpoint
	if endpoint == "" {
		endpoint = "https://s3.amazonaws.com"
	}
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fault.New(fault.Config, "bad_s3", "lake.s3.endpoint %q is not the URL of an S3 API", cfg.Endpoint).
			WithAdvice("write it as https://HOST or http://HOST:PORT, without a path")
	}
	if (cfg.AccessKey == "") != (cfg.SecretKey == "") {
		return nil, fault.New(fault.Config, "bad_s3", "one of lake.s3.access_key and lake.s3.secret_key is missing").
			WithAdvice("give both, or none to use the environment, ~/.aws/credentials or the machine's role")
	}
	transport, err := s3Transport(u.Scheme == "https", cfg.CAFile)
	if err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupAuto
	if cfg.PathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.NewCore(u.Host, &minio.Options{
		Creds: s3Credentials(cfg), Secure: u.Scheme == "https", Transport: transport,
		Region: cfg.Region, BucketLookup: lookup, MaxRetries: 1, // the pauses are ours
	})
	if err != nil {
		return nil, fault.New(fault.Config, "bad_s3", "reaching S3 at %s: %w", endpoint, err).WithAdvice("correct lake.s3")
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &bucket{client: client, name: name, pace: usualPace, log: log, ctx: ctx, cancel: cancel}, nil
}

func s3Credentials(cfg S3) *credentials.Credentials {
	if cfg.AccessKey != "" {
		return credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, "")
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
	})
}

func s3Transport(secure bool, caFile string) (*http.Transport, error) {
	t, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, fmt.Errorf("preparing requests to S3: %w", err)
	}
	t.ResponseHeaderTimeout = 20 * time.Second
	t.MaxIdleConnsPerHost = 32
	if caFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fault.New(fault.Config, "bad_s3", "reading lake.s3.ca_file: %w", err).WithAdvice("name a file of PEM certificates")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fault.New(fault.Config, "bad_s3", "lake.s3.ca_file %s holds no PEM certificate", caFile).
			WithAdvice("name a file of PEM certificates")
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t, nil
}

// try runs a request until it succeeds, is refused for good, or was tried often enough. The pauses are
// random, so that many clients of a server that said SlowDown do not come back together.
func (b *bucket) try(doing string, do func(ctx context.Context) error) error {
	return b.tryFor(b.ctx, b.pace.attempt, doing, do)
}

// tryIn is try for whoever has a context, which ends the request, too.
func (b *bucket) tryIn(ctx context.Context, doing string, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	return b.tryFor(ctx, b.pace.attempt, doing, do)
}

func (b *bucket) tryFor(ctx context.Context, attempt time.Duration, doing string, do func(ctx context.Context) error) error {
	longest := b.pace.first
	for n := 1; ; n++ {
		tried, cancel := context.WithTimeout(ctx, attempt)
		err := do(tried)
		cancel()
		if err == nil {
			return nil
		}
		sorted := sortS3(doing, b.name, err)
		if ctx.Err() != nil && b.ctx.Err() == nil { // whoever asked does not want it any more
			return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
		}
		if !fault.Is(sorted, fault.Transient) || n == b.pace.tries || b.ctx.Err() != nil {
			return sorted
		}
		wait := rand.N(longest) //nolint:gosec // a pause is no secret
		longest = min(2*longest, b.pace.longest)
		b.log.Debug("trying S3 again", "doing", doing, "try", n, "after", wait, "error", err)
		select {
		case <-ctx.Done():
			if b.ctx.Err() != nil {
				return sorted
			}
		case <-time.After(wait):
		}
	}
}

// sortS3 gives a failed request its fault: what may pass is tried again, a refusal is the configuration's.
func sortS3(doing, name string, err error) error {
	var sorted *fault.Error
	if errors.As(err, &sorted) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return err
	}
	var unknownCA x509.UnknownAuthorityError
	if errors.As(err, &unknownCA) {
		return fault.New(fault.Config, "s3_refused", "%s: %w", doing, err).WithAdvice("name the server's certificate authority as lake.s3.ca_file")
	}
	r := minio.ErrorResponse{}
	if !errors.As(err, &r) { // the connection's
		return fault.New(fault.Transient, "s3_unavailable", "%s: S3 does not answer: %w", doing, err).
			WithAdvice("look at the server, and at lake.s3.endpoint")
	}
	switch r.Code {
	case "NoSuchKey":
		return fmt.Errorf("%s: %w", doing, fs.ErrNotExist)
	case "NoSuchBucket":
		return fault.New(fault.Config, "no_bucket", "S3 has no bucket %s", name).
			WithAdvice("make it with: pinflow init --infra, or correct lake.warehouse")
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidTokenId", "AllAccessDisabled", "InvalidToken",
		"AuthorizationHeaderMalformed", "PermanentRedirect", "RequestTimeTooSkewed", "XMinioInvalidObjectName", "InvalidBucketName":
		return s3Refused(doing, r)
	case "ExpiredToken", "ExpiredTokenException", "SlowDown", "RequestTimeout", "BadDigest", "IncompleteBody", "OperationAborted":
		return fault.New(fault.Transient, "s3_unavailable", "%s: S3 says %s: %s", doing, r.Code, r.Message)
	}
	if r.StatusCode == http.StatusNotFound && r.Code == "" {
		return fmt.Errorf("%s: %w", doing, fs.ErrNotExist)
	}
	if r.StatusCode >= 500 || r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusRequestTimeout || r.StatusCode == 0 {
		return fault.New(fault.Transient, "s3_unavailable", "%s: S3 says %d %s: %s", doing, r.StatusCode, r.Code, r.Message)
	}
	if r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden || strings.Contains(r.Message, "access key") {
		return s3Refused(doing, r)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func s3Refused(doing string, r minio.ErrorResponse) error {
	return fault.New(fault.Config, "s3_refused", "%s: S3 refuses it (%s): %s", doing, r.Code, r.Message).
		WithAdvice("check endpoint, region, credentials and the rights of the user in lake.s3, and the clock")
}

func said(err error, code string) bool {
	r := minio.ErrorResponse{}
	return errors.As(err, &r) && r.Code == code
}

// key returns the key of a location in this bucket.
func (b *bucket) key(at string) (string, error) {
	name, key, err := splitS3(at)
	if err != nil {
		return "", err
	}
	if name != b.name {
		return "", fmt.Errorf("location %q is not in bucket %s", at, b.name)
	}
	return key, nil
}

// check asks whether the bucket is there and can be read.
func (b *bucket) check() error { return b.try("looking for bucket "+b.name, b.look) }

// look lists, because the answer to that says what is wrong, which the answer to a HEAD does not.
func (b *bucket) look(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range b.client.Client.ListObjects(ctx, b.name, minio.ListObjectsOptions{MaxKeys: 1}) {
		return o.Err
	}
	return nil
}

func (b *bucket) answers(ctx context.Context, _ string) error {
	if err := b.look(ctx); err != nil {
		return sortS3("looking for bucket "+b.name, b.name, err)
	}
	return nil
}

// make makes the bucket in its region unless it is there.
func (b *bucket) make(region string) (made bool, err error) {
	err = b.try("making bucket "+b.name, func(ctx context.Context) error {
		if there, err := b.client.BucketExists(ctx, b.name); err == nil && there {
			return nil
		}
		err := b.client.MakeBucket(ctx, b.name, minio.MakeBucketOptions{Region: region})
		if said(err, "BucketAlreadyOwnedByYou") {
			return nil
		}
		made = made || err == nil
		return err
	})
	return made, err
}

// Remove deletes an object; one that is gone already is no error.
func (b *bucket) Remove(at string) error {
	key, err := b.key(at)
	if err != nil {
		return err
	}
	err = b.try("removing "+at, func(ctx context.Context) error {
		return b.client.RemoveObject(ctx, b.name, key, minio.RemoveObjectOptions{})
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List returns the locations of the objects in a folder.
func (b *bucket) List(folder string) ([]string, error) {
	var all []string
	err := b.walk(strings.TrimSuffix(folder, "/")+"/", false, func(f found) error {
		all = append(all, f.at)
		return nil
	})
	return all, err
}

// walk shows the objects under a prefix, with those of its folders if deep.
func (b *bucket) walk(prefix string, deep bool, show func(found) error) error {
	key, err := b.key(prefix)
	if err != nil {
		return err
	}
	var all []found
	// A long list takes several requests.
	err = b.tryFor(b.ctx, 10*b.pace.attempt, "listing "+prefix, func(ctx context.Context) error {
		all = all[:0]
		for o := range b.client.Client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: key, Recursive: deep}) {
			if o.Err != nil {
				return o.Err
			}
			if strings.HasSuffix(o.Key, "/") {
				continue
			}
			all = append(all, found{at: "s3://" + b.name + "/" + o.Key, modified: o.LastModified, bytes: o.Size})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, f := range all {
		if err := show(f); err != nil {
			return err
		}
	}
	return nil
}

func (b *bucket) ReadFile(at string) ([]byte, error) {
	key, err := b.key(at)
	if err != nil {
		return nil, err
	}
	var p []byte
	err = b.try("reading "+at, func(ctx context.Context) error {
		body, info, _, err := b.client.GetObject(ctx, b.name, key, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		buf := bytes.NewBuffer(make([]byte, 0, max(info.Size, 0)+bytes.MinRead))
		if _, err := buf.ReadFrom(body); err != nil {
			return err
		}
		p = buf.Bytes()
		return nil
	})
	return p, err
}

func (b *bucket) WriteFile(at string, p []byte) error {
	w, err := b.Create(at)
	if err != nil {
		return err
	}
	if _, err := w.Write(p); err != nil {
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

func (b *bucket) Create(at string) (iceio.FileWriter, error) {
	key, err := b.key(at)
	if err != nil {
		return nil, err
	}
	return &objectWriter{b: b, at: at, key: key}, nil
}

// sum is the checksum that goes into a request's signature, so that a damaged body is refused.
func sum(p []byte) string {
	h := sha256.Sum256(p)
	return hex.EncodeToString(h[:])
}

// upload puts a local file at a key, in place of what is there.
func (b *bucket) upload(file, key string) error {
	return b.tryFor(b.ctx, time.Hour, "uploading "+key, func(ctx context.Context) error {
		_, err := b.client.FPutObject(ctx, b.name, key, file, minio.PutObjectOptions{ContentType: "application/octet-stream"})
		return err
	})
}

func (b *bucket) close() { b.cancel() }

// tailSize is how much of a file's end one request of Open fetches: the footer of a Parquet file, and
// all of a small one.
const tailSize = 128 << 10

// Open fetches the end of the object, and with it its size.
func (b *bucket) Open(at string) (iceio.File, error) {
	o := &object{b: b, at: at}
	err := o.open(b.ctx, tailSize, func(n int64) []byte { return make([]byte, n) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: at, Err: err}
	}
	return o, nil
}
