package spark

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/pinflow/pinflow/internal/fault"
)

// trustFile is the name of the store of certificates, which executors get into their folder.
const trustFile = "pinflow-trust.p12"

// trustPassword is there because Java wants one: what the store holds is public.
const trustPassword = "pinflow"

// systemRoots are where systems keep the certificates that they trust.
var systemRoots = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// trustStore writes the certificates of the lake's bucket in a form that Java reads, and the system's, for a store
// takes the place of Java's own and Spark also fetches packages. "": Java's own will do. Java 8 reads the older
// encryption alone; there is nothing secret in it. fault.Config bad_s3: the file of certificates is none.
func (c *Config) trustStore(dir string) (string, error) {
	if c.S3.CAFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(c.S3.CAFile)
	if err != nil {
		return "", fault.New(fault.Config, "bad_s3", "reading lake.s3.ca_file: %w", err).WithAdvice("name a file of PEM certificates")
	}
	certs := certificates(text)
	if len(certs) == 0 {
		return "", fault.New(fault.Config, "bad_s3", "lake.s3.ca_file %s holds no PEM certificate", c.S3.CAFile).WithAdvice("name a file of PEM certificates")
	}
	for _, at := range systemRoots {
		if text, err := os.ReadFile(at); err == nil {
			certs = append(certs, certificates(text)...)
			break
		}
	}
	store, err := pkcs12.LegacyDES.EncodeTrustStore(certs, trustPassword)
	if err != nil {
		return "", fault.New(fault.Config, "bad_s3", "handing the certificates of %s to Spark: %w", c.S3.CAFile, err).
			WithAdvice("name a file of X.509 certificates")
	}
	path := filepath.Join(dir, trustFile)
	if err := os.WriteFile(path, store, 0o600); err != nil {
		return "", fault.New(fault.Transient, "spark_failed", "writing the certificates that Spark is to trust: %w", err)
	}
	return path, nil
}

// certificates are those of a PEM file that can be read.
func certificates(text []byte) (all []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, cert)
		}
	}
}

// trusting adds what makes driver and executors trust a store of certificates. Java takes its options as one text, so
// ours are added to those of the user; who names a store of his own keeps it.
func trusting(conf []string, store string, local bool) []string {
	options := func(at string) string {
		return "-Djavax.net.ssl.trustStore=" + quoted(at) + " -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=" + trustPassword
	}
	conf = join(conf, "spark.driver.extraJavaOptions", " ", options(store))
	if local {
		return conf
	}
	conf = join(conf, "spark.executor.extraJavaOptions", " ", options(trustFile))
	return join(conf, "spark.files", ",", store)
}

// join adds to a setting. Of several of one name the last counts.
func join(conf []string, key, between, value string) []string {
	theirs := ""
	for _, kv := range conf {
		if v, ok := strings.CutPrefix(kv, key+"="); ok {
			theirs = v
		}
	}
	switch {
	case strings.Contains(theirs, "-Djavax.net.ssl.trustStore="):
		return conf
	case theirs != "":
		value = theirs + between + value
	}
	return append(conf, key+"="+value)
}

// quoted is a path as one word of Java's options.
func quoted(path string) string {
	if strings.ContainsAny(path, " \t") {
		return `"` + path + `"`
	}
	return path
}
