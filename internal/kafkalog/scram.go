package kafkalog

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"strings"
)

// credentials are what a server keeps of a password (RFC 5802, without channel binding).
type credentials struct {
	hash           func() hash.Hash
	salt           []byte
	stored, server []byte
}

func newCredentials(h func() hash.Hash, password string) (*credentials, error) {
	c := &credentials{hash: h, salt: make([]byte, 24)}
	if _, err := rand.Read(c.salt); err != nil {
		return nil, fmt.Errorf("salting a password: %w", err)
	}
	salted, err := pbkdf2.Key(h, password, c.salt, scramRounds, h().Size())
	if err != nil {
		return nil, fmt.Errorf("hashing a password: %w", err)
	}
	sum := h()
	sum.Write(c.mac(salted, "Client Key"))
	c.stored, c.server = sum.Sum(nil), c.mac(salted, "Server Key")
	return c, nil
}

func (c *credentials) mac(key []byte, text string) []byte {
	m := hmac.New(c.hash, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// conversation is the server's side of one log-in.
type conversation struct {
	of    *credentials
	user  string
	first string // client-first-bare "," server-first
	nonce string // the server's part
	known bool   // the name is right
	done  bool
}

// step takes a message of the client and returns the answer. An unknown name is refused at the end, like a
// wrong password.
func (t *conversation) step(message string) (answer string, ok bool) {
	if t.first == "" {
		return t.begin(message)
	}
	return t.finish(message)
}

func (t *conversation) begin(message string) (string, bool) {
	bare, found := strings.CutPrefix(message, "n,,")
	name, rest, cut := strings.Cut(bare, ",")
	nonce, _, _ := strings.Cut(rest, ",")
	if !found || !cut || !strings.HasPrefix(name, "n=") || len(nonce) < 10 || !strings.HasPrefix(nonce, "r=") {
		return "", false
	}
	random := make([]byte, 24)
	if _, err := rand.Read(random); err != nil {
		return "", false
	}
	t.nonce = base64.StdEncoding.EncodeToString(random)
	t.known = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name[2:]) == t.user
	answer := fmt.Sprintf("%s%s,s=%s,i=%d", nonce, t.nonce, base64.StdEncoding.EncodeToString(t.of.salt), scramRounds)
	t.first = bare + "," + answer
	return answer, true
}

// finish checks the proof. Of the nonce only the server's part is compared, as Apache Kafka does: librdkafka
// repeats its own. It is part of what the proof is over, so nothing can be replayed.
func (t *conversation) finish(message string) (string, bool) {
	bare, proof64, found := strings.Cut(message, ",p=")
	proof, err := base64.StdEncoding.DecodeString(proof64)
	if !found || err != nil || t.done || !strings.HasPrefix(bare, "c=biws,r=") || !strings.HasSuffix(bare, t.nonce) || len(proof) != t.of.hash().Size() {
		return "", false
	}
	all := t.first + "," + bare
	key := make([]byte, len(proof))
	subtle.XORBytes(key, proof, t.of.mac(t.of.stored, all))
	sum := t.of.hash()
	sum.Write(key)
	if subtle.ConstantTimeCompare(sum.Sum(nil), t.of.stored) != 1 || !t.known {
		return "", false
	}
	t.done = true
	return "v=" + base64.StdEncoding.EncodeToString(t.of.mac(t.of.server, all)), true
}
