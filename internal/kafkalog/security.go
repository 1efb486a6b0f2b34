package kafkalog

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/pinflow/pinflow/internal/fault"
)

// Login is who a client is to the log.
type Login struct {
	Mechanism string // plain | scram-sha-256 | scram-sha-512
	User      string
	Password  string
}

// Mechanisms that a Login may name.
const (
	Plain       = "plain"
	ScramSHA256 = "scram-sha-256"
	ScramSHA512 = "scram-sha-512"
)

func (l *Login) mechanism() (sasl.Mechanism, error) {
	switch l.Mechanism {
	case Plain:
		return plain.Auth{User: l.User, Pass: l.Password}.AsMechanism(), nil
	case ScramSHA256:
		return scram.Auth{User: l.User, Pass: l.Password}.AsSha256Mechanism(), nil
	case ScramSHA512:
		return scram.Auth{User: l.User, Pass: l.Password}.AsSha512Mechanism(), nil
	}
	return nil, fault.New(fault.Config, "bad_log_config", "log.sasl.mechanism %q is none of %s, %s, %s", l.Mechanism, Plain, ScramSHA256, ScramSHA512)
}

// security are the options of a client that encrypts and logs in.
func (c *Config) security() ([]kgo.Opt, error) {
	var opts []kgo.Opt
	if c.TLS != nil && c.Dialer == nil {
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	if c.Login != nil {
		m, err := c.Login.mechanism()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

// ClientTLS reads what a client needs to speak TLS: the certificates to trust ("": the system's) and,
// if the log asks for them, its own certificate and key.
func ClientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fault.New(fault.Config, "bad_log_config", "reading log.tls.ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.New(fault.Config, "bad_log_config", "log.tls.ca_file %s holds no certificate", caFile)
		}
	}
	if certFile != "" || keyFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fault.New(fault.Config, "bad_log_config", "reading log.tls.cert_file and key_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
