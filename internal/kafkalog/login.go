package kafkalog

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// scramRounds is how often a password is hashed: what Apache Kafka asks for at least.
const scramRounds = 4096

// doorman knows who may come in through the Kafka port.
type doorman struct {
	login Login
	scram *credentials // nil for plain
}

func newDoorman(l *Login) (*doorman, error) {
	switch l.Mechanism {
	case Plain:
		return &doorman{login: *l}, nil
	case ScramSHA256:
		c, err := newCredentials(sha256.New, l.Password)
		return &doorman{*l, c}, err
	case ScramSHA512:
		c, err := newCredentials(sha512.New, l.Password)
		return &doorman{*l, c}, err
	}
	_, err := l.mechanism()
	return nil, err
}

// ofLogin tells whether requests of a key are the log-in's.
func ofLogin(key int16) bool {
	return key == int16(kmsg.SASLHandshake) || key == int16(kmsg.SASLAuthenticate)
}

// visitor is one connection on its way through the log-in.
type visitor struct {
	d      *doorman
	shook  bool // the mechanism was agreed on
	talk   *conversation
	inside bool
	out    bool // it failed: the answer is its last
}

// screen answers the requests of the log-in itself.
func (v *visitor) screen(r *request) (answer verdict, handled bool) {
	switch req := r.kreq.(type) {
	case *kmsg.SASLHandshakeRequest:
		return v.handshake(r, req), true
	case *kmsg.SASLAuthenticateRequest:
		return v.authenticate(r, req), true
	}
	return verdict{}, false
}

func (v *visitor) handshake(r *request, req *kmsg.SASLHandshakeRequest) verdict {
	resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
	want := strings.ToUpper(v.d.login.Mechanism)
	resp.SupportedMechanisms = []string{want}
	if v.shook = req.Mechanism == want && !v.inside && v.talk == nil; !v.shook {
		resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		return r.answer(resp)
	}
	if v.d.scram != nil {
		v.talk = &conversation{of: v.d.scram, user: v.d.login.User}
	}
	return r.answer(resp)
}

func (v *visitor) authenticate(r *request, req *kmsg.SASLAuthenticateRequest) verdict {
	resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	reply, ok := "", false
	switch {
	case !v.shook || v.inside:
	case v.talk == nil:
		ok = v.plain(req.SASLAuthBytes)
		v.inside = ok
	default:
		reply, ok = v.talk.step(string(req.SASLAuthBytes))
		v.inside = ok && v.talk.done
	}
	if !ok {
		why := "name or password is wrong"
		resp.ErrorCode, resp.ErrorMessage, v.out = kerr.SaslAuthenticationFailed.Code, &why, true
		return r.answer(resp)
	}
	resp.SASLAuthBytes = []byte(reply)
	return r.answer(resp)
}

// plain checks "authorization NUL name NUL password", in constant time.
func (v *visitor) plain(token []byte) bool {
	parts := strings.Split(string(token), "\x00")
	if len(parts) != 3 || parts[0] != "" && parts[0] != parts[1] {
		return false
	}
	same := func(a, b string) int {
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return subtle.ConstantTimeCompare(x[:], y[:])
	}
	return same(parts[1], v.d.login.User)&same(parts[2], v.d.login.Password) == 1
}
