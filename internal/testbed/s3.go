package testbed

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
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
