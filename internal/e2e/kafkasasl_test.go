package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// certificate writes one for 127.0.0.1: key and certificate together, as Kafka wants them, and the certificate.
func certificate(t *testing.T) (both, cert string) {
	t.Helper()
	dir := t.TempDir()
	both, cert = filepath.Join(dir, "both.pem"), filepath.Join(dir, "cert.pem")
	private, public := pemPair(t, 1)
	for name, text := range map[string][]byte{both: append(private, public...), cert: public} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return both, cert
}

// pemPair is a new key and a certificate of it for 127.0.0.1.
func pemPair(t *testing.T, serial int64) (private, public []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// A Kafka that asks for TLS and a log-in gets them, by each mechanism; a wrong password and a certificate that
// nobody vouches for are refused in a line that holds no secret.
func TestKafkaAsksWhoWeAre(t *testing.T) {
	both, cert := certificate(t)
	secure := freePort(t)
	const scram, plain = "org.apache.kafka.common.security.scram.ScramLoginModule required;", "org.apache.kafka.common.security.plain.PlainLoginModule required user_pinflow=\"hunter2\";"
	k := startKafka(t,
		"listeners=PLAINTEXT://ADDR,CONTROLLER://CONTROLLER,SASL_SSL://"+secure,
		"advertised.listeners=PLAINTEXT://ADDR,SASL_SSL://"+secure,
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
		"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.sasl_ssl.plain.sasl.jaas.config="+plain,
		"listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config="+scram,
		"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config="+scram,
		"ssl.keystore.type=PEM", "ssl.keystore.location="+both,
	)
	admin := k.admin()
	for _, mechanism := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		done, err := admin.AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{{User: "pinflow", Mechanism: mechanism, Iterations: 4096, Password: "hunter2"}})
		if err != nil || done.Error() != nil {
			t.Fatal(err, done.Error())
		}
	}
	dir := t.TempDir()
	password, wrong := filepath.Join(dir, "password"), filepath.Join(dir, "wrong")
	for name, text := range map[string]string{password: "hunter2\n", wrong: "swordfish\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings := func(mechanism string, more ...string) []string {
		return append([]string{
			"PINFLOW_LOG_KIND=kafka", "PINFLOW_LOG_BROKERS=" + secure, "PINFLOW_LOG_TLS_ENABLED=true", "PINFLOW_LOG_TLS_CA_FILE=" + cert,
			"PINFLOW_LOG_SASL_MECHANISM=" + mechanism, "PINFLOW_LOG_SASL_USERNAME=pinflow", "PINFLOW_LOG_SASL_PASSWORD_FILE=" + password,
		}, more...)
	}
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		if r := pinflowIn(t, settings(mechanism), "topics", "ls", "--data", t.TempDir()); r.code != 0 || !strings.Contains(r.stdout, "missing") {
			t.Errorf("%s: exit code %d\n%s%s", mechanism, r.code, r.stdout, r.stderr)
		}
	}
	for name, more := range map[string]string{"password": "PINFLOW_LOG_SASL_PASSWORD_FILE=" + wrong, "certificate": "PINFLOW_LOG_TLS_CA_FILE="} {
		r := pinflowIn(t, settings("scram-sha-512", more), "topics", "ls", "--data", t.TempDir())
		t.Logf("wrong %s: exit code %d: %s", name, r.code, r.stderr)
		if r.code == 0 || strings.Contains(r.stderr, "hunter2") || strings.Contains(r.stderr, "swordfish") {
			t.Errorf("wrong %s: exit code %d\n%s", name, r.code, r.stderr)
		}
	}
	s := startIn(t, settings("scram-sha-512"), t.TempDir())
	s.post("pin", 3)
	s.stop()
}
