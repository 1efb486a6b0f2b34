package httpapi

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

// Certificate is a certificate in two files. It is read again when they change, so that a renewed one
// is served without a restart.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	have   *tls.Certificate
	seen   [2]stamp
	looked time.Time
}

// stamp tells one state of a file from another.
type stamp struct {
	size int64
	at   time.Time
}

// NewCertificate reads the files.
func NewCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	c.seen, c.looked = c.stamps(), time.Now()
	have, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fault.New(fault.Config, "bad_certificate", "reading tls.cert_file and tls.key_file: %w", err).
			WithAdvice("name a certificate chain and its private key, both PEM")
	}
	c.have = &have
	return c, nil
}

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

// Get is tls.Config.GetCertificate. Files that cannot be read leave the certificate as it is.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= lookEvery {
		c.looked = now
		c.look()
	}
	return c.have, nil
}

func (c *Certificate) look() {
	seen := c.stamps()
	if seen == c.seen {
		return
	}
	c.seen = seen
	have, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil { // half of a change: the other half is a change too
		c.log.Warn("the certificate changed but cannot be read; the one before goes on", "err", err)
		return
	}
	c.have = &have
	c.log.Info("serving the changed certificate", "not_after", have.Leaf.NotAfter)
}

func (c *Certificate) stamps() (out [2]stamp) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			out[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return out
}
