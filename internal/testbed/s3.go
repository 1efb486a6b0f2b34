package testbed

import (
	"bytes"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3 is a server beside the tests, and a bucket name that nobody uses.
type S3 struct {
	Endpoint             string // http://HOST:PORT
	Region               string // the one that buckets must be made in
	AccessKey, SecretKey string
	Bucket               string // not made yet
}

// Bucket returns the S3 server that runs beside the tests.
func Bucket(t testing.TB) S3 {
	t.Helper()
	text := os.Getenv("TESTBED_S3")
	if text == "" {
		t.Skip("no S3: run the tests under scripts/with-s3")
	}
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	return S3{
		Endpoint: u.Scheme + "://" + u.Host, Region: u.Query().Get("region"), AccessKey: u.User.Username(), SecretKey: secret,
		Bucket: "t" + strings.ReplaceAll(uuid.NewString(), "-", ""),
	}
}

// Put writes an object into the bucket, which has been made.
func (s S3) Put(t testing.TB, key string, data []byte) {
	t.Helper()
	host := strings.TrimPrefix(s.Endpoint, "http://")
	c, err := minio.New(host, &minio.Options{Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Region: s.Region})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutObject(t.Context(), s.Bucket, key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}
