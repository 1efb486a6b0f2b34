package kafkalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type keyRange struct{ min, max int16 }

// verdict says what becomes of a request: it goes on to the broker, perhaps changed, or is answered
// here. With neither it is dropped in silence (acks=0).
type verdict struct {
	forward []byte // with size prefix
	silent  bool   // the broker will not answer
	rewrite func([]byte) ([]byte, error)
	reply   []byte // with size prefix
}

// passed are the requests that clients of the Kafka port may make. Everything else would change what
// pinflow's invariants rest on, or is of no use with one broker.
func passed(key kmsg.Key) bool {
	switch key {
	case kmsg.Produce, kmsg.Fetch, kmsg.ListOffsets, kmsg.Metadata, kmsg.ApiVersions,
		kmsg.OffsetCommit, kmsg.OffsetFetch, kmsg.FindCoordinator, kmsg.JoinGroup, kmsg.Heartbeat,
		kmsg.LeaveGroup, kmsg.SyncGroup, kmsg.DescribeGroups, kmsg.ListGroups, kmsg.CreateTopics,
		kmsg.InitProducerID, kmsg.OffsetForLeaderEpoch, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn,
		kmsg.EndTxn, kmsg.TxnOffsetCommit, kmsg.DescribeConfigs, kmsg.DescribeCluster:
		return true
	}
	return false
}

// refused are the requests that get an answer with a reason, because people will try them.
func refused(key kmsg.Key) bool {
	switch key {
	case kmsg.DeleteTopics, kmsg.DeleteRecords, kmsg.AlterConfigs, kmsg.IncrementalAlterConfigs, kmsg.CreatePartitions:
		return true
	}
	return false
}

// servedKeys asks the broker which requests it knows, and keeps those that may pass.
func servedKeys(ctx context.Context, inner *memListener) (map[int16]keyRange, error) {
	c, err := inner.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the embedded broker for its versions: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	req := kmsg.NewApiVersionsRequest()
	raw := binary.BigEndian.AppendUint16(nil, uint16(req.Key()))
	raw = append(raw, 0, 0, 0, 0, 0, 0, 0, 0) // version 0, correlation 0, empty client id
	if _, err := c.Write(withSize(req.AppendTo(raw))); err != nil {
		return nil, fmt.Errorf("asking the embedded broker for its versions: %w", err)
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, fmt.Errorf("asking the embedded broker for its versions: %w", err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, fmt.Errorf("asking the embedded broker for its versions: %w", err)
	}
	resp := kmsg.NewApiVersionsResponse()
	if err := resp.ReadFrom(body[4:]); err != nil {
		return nil, fmt.Errorf("asking the embedded broker for its versions: %w", err)
	}
	keys := make(map[int16]keyRange)
	for _, k := range resp.ApiKeys {
		if passed(kmsg.Key(k.ApiKey)) || refused(kmsg.Key(k.ApiKey)) {
			keys[k.ApiKey] = keyRange{k.MinVersion, k.MaxVersion}
		}
	}
	return keys, nil
}

// checkKey refuses what the broker does not know. A too new ApiVersions is answered by screen.
func (g *guard) checkKey(key, version int16) error {
	r, ok := g.keys[key]
	if !ok {
		return fmt.Errorf("%w: key %d", errFrame, key)
	}
	if key != int16(kmsg.ApiVersions) && (version < r.min || version > r.max) || version < 0 {
		return fmt.Errorf("%w: version %d of %s", errFrame, version, kmsg.NameForKey(key))
	}
	return nil
}

// request is a screened request's parts.
type request struct {
	raw  []byte // with size prefix
	key  kmsg.Key
	corr int32
	body int // where the request begins, after the header
	kreq kmsg.Request
}

// screen judges one whole frame whose key and version are known to be served.
func (g *guard) screen(raw []byte, who *visitor) (verdict, error) {
	key, version := int16(binary.BigEndian.Uint16(raw[4:])), int16(binary.BigEndian.Uint16(raw[6:]))
	r := request{raw: raw, key: kmsg.Key(key), corr: int32(binary.BigEndian.Uint32(raw[8:]))}
	if r.key == kmsg.ApiVersions && version > g.keys[key].max {
		return g.unsupported(r.corr), nil
	}
	if err := r.parseHeader(version); err != nil {
		return verdict{}, err
	}
	if who != nil && !who.inside && r.key != kmsg.ApiVersions && !ofLogin(key) {
		return verdict{}, fmt.Errorf("%w: %s before the log-in", errFrame, kmsg.NameForKey(key))
	}
	if r.key == kmsg.Produce {
		if err := walkProduce(raw[r.body:], version); err != nil {
			return verdict{}, err
		}
	}
	if err := r.parse(); err != nil {
		return verdict{}, err
	}
	if who != nil {
		if v, handled := who.screen(&r); handled {
			return v, nil
		}
	}
	if refused(r.key) {
		return r.answer(refusal(r.kreq)), nil
	}
	switch req := r.kreq.(type) {
	case *kmsg.ProduceRequest:
		return g.screenProduce(&r, req)
	case *kmsg.FetchRequest:
		return r.screenFetch(req), nil
	case *kmsg.CreateTopicsRequest:
		return r.screenCreate(req), nil
	case *kmsg.ApiVersionsRequest:
		return verdict{forward: raw, rewrite: g.trimVersions(version)}, nil
	}
	return verdict{forward: raw}, nil
}

func (r *request) parseHeader(version int16) error {
	r.kreq = kmsg.RequestForKey(int16(r.key))
	r.kreq.SetVersion(version)
	reader := kbin.Reader{Src: r.raw[12:]}
	reader.NullableString()
	if r.kreq.IsFlexible() {
		kmsg.SkipTags(&reader)
	}
	if err := reader.Complete(); err != nil && len(reader.Src) == 0 {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	r.body = len(r.raw) - len(reader.Src)
	return nil
}

// parse reads the whole request as the broker will; what cannot be read must not get there.
func (r *request) parse() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errFrame, p)
		}
	}()
	if err := r.kreq.ReadFrom(r.raw[r.body:]); err != nil {
		return fmt.Errorf("%w: %s: %w", errFrame, kmsg.NameForKey(int16(r.key)), err)
	}
	return nil
}

// answer makes a verdict of a response.
func (r *request) answer(resp kmsg.Response) verdict {
	body := binary.BigEndian.AppendUint32(nil, uint32(r.corr))
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		body = append(body, 0)
	}
	return verdict{reply: withSize(resp.AppendTo(body))}
}

// forwardChanged passes the request on as it now stands.
func (r *request) forwardChanged() verdict {
	body := append([]byte(nil), r.raw[4:r.body]...)
	return verdict{forward: withSize(r.kreq.AppendTo(body))}
}

func (g *guard) unsupported(corr int32) verdict {
	resp := kmsg.NewApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = int16(kmsg.ApiVersions), 0, g.keys[int16(kmsg.ApiVersions)].max
	resp.ApiKeys = append(resp.ApiKeys, k)
	r := request{corr: corr}
	return r.answer(&resp)
}

// trimVersions leaves only the keys that may pass in an ApiVersions answer.
func (g *guard) trimVersions(version int16) func([]byte) ([]byte, error) {
	return func(body []byte) ([]byte, error) {
		if len(body) < 4 {
			return nil, errors.New("a short ApiVersions answer")
		}
		resp := kmsg.NewApiVersionsResponse()
		resp.SetVersion(version)
		if err := resp.ReadFrom(body[4:]); err != nil {
			return nil, fmt.Errorf("reading an ApiVersions answer: %w", err)
		}
		kept := resp.ApiKeys[:0]
		for _, k := range resp.ApiKeys {
			if _, ok := g.keys[k.ApiKey]; ok {
				kept = append(kept, k)
			}
		}
		if g.door != nil { // which the broker itself does not serve
			kept = slices.DeleteFunc(kept, func(k kmsg.ApiVersionsResponseApiKey) bool { return ofLogin(k.ApiKey) })
			for _, key := range []int16{int16(kmsg.SASLHandshake), int16(kmsg.SASLAuthenticate)} {
				k := kmsg.NewApiVersionsResponseApiKey()
				// Version 0 of the handshake is refused: what follows it has no frame. But librdkafka believes
				// in a log-in only where it is named, and then uses 1.
				k.ApiKey, k.MinVersion, k.MaxVersion = key, 0, g.keys[key].max
				kept = append(kept, k)
			}
		}
		resp.ApiKeys = kept
		return resp.AppendTo(body[:4:4]), nil
	}
}

// Limits of what a client may ask of the broker.
const (
	maxFetchBytes      = 16 << 20
	maxFetchWaitMillis = 30_000
	maxTopicPartitions = 256
	maxTopicsAtOnce    = 64
)

func (r *request) screenFetch(req *kmsg.FetchRequest) verdict {
	changed := false
	limit := func(v *int32, most int32) {
		if *v > most {
			*v, changed = most, true
		}
	}
	limit(&req.MaxBytes, maxFetchBytes)
	limit(&req.MinBytes, maxFetchBytes)
	limit(&req.MaxWaitMillis, maxFetchWaitMillis)
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			limit(&req.Topics[i].Partitions[j].PartitionMaxBytes, maxFetchBytes)
		}
	}
	if changed {
		return r.forwardChanged()
	}
	return verdict{forward: r.raw}
}

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// screenCreate lets clients make plain topics: no configuration, because retention and compaction
// would delete records that a unit has not read.
func (r *request) screenCreate(req *kmsg.CreateTopicsRequest) verdict {
	resp := kmsg.NewCreateTopicsResponse()
	resp.SetVersion(req.Version)
	bad := len(req.Topics) > maxTopicsAtOnce
	for _, t := range req.Topics {
		st := kmsg.NewCreateTopicsResponseTopic()
		st.Topic = t.Topic
		code, why := kerr.PolicyViolation.Code, "another topic of this request was refused"
		switch {
		case !topicName.MatchString(t.Topic) || t.Topic == "." || t.Topic == "..":
			code, why, bad = kerr.InvalidTopicException.Code, "a topic name has letters, digits, '.', '_' and '-'", true
		case len(t.Configs) > 0:
			why, bad = "the embedded log takes no topic configuration", true
		case t.NumPartitions > maxTopicPartitions || len(t.ReplicaAssignment) > maxTopicPartitions:
			code, why, bad = kerr.InvalidPartitions.Code, fmt.Sprintf("at most %d partitions", maxTopicPartitions), true
		}
		st.ErrorCode, st.ErrorMessage = code, &why
		resp.Topics = append(resp.Topics, st)
	}
	if bad {
		return r.answer(&resp)
	}
	return verdict{forward: r.raw}
}

const refusalText = "not through the Kafka port of pinflow's embedded log: its records are kept until every unit has passed them"

// refusal answers a request that would take records away from the units.
func refusal(req kmsg.Request) kmsg.Response {
	code, why := kerr.PolicyViolation.Code, refusalText
	switch req := req.(type) {
	case *kmsg.DeleteTopicsRequest:
		resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
		for _, name := range req.TopicNames {
			t := kmsg.NewDeleteTopicsResponseTopic()
			t.Topic, t.ErrorCode, t.ErrorMessage = &name, code, &why
			resp.Topics = append(resp.Topics, t)
		}
		for _, rt := range req.Topics {
			t := kmsg.NewDeleteTopicsResponseTopic()
			t.Topic, t.TopicID, t.ErrorCode, t.ErrorMessage = rt.Topic, rt.TopicID, code, &why
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	case *kmsg.DeleteRecordsRequest:
		resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
		for _, rt := range req.Topics {
			t := kmsg.NewDeleteRecordsResponseTopic()
			t.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				p := kmsg.NewDeleteRecordsResponseTopicPartition()
				p.Partition, p.ErrorCode = rp.Partition, code
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	case *kmsg.AlterConfigsRequest:
		resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
		for _, rr := range req.Resources {
			s := kmsg.NewAlterConfigsResponseResource()
			s.ResourceType, s.ResourceName, s.ErrorCode, s.ErrorMessage = rr.ResourceType, rr.ResourceName, code, &why
			resp.Resources = append(resp.Resources, s)
		}
		return resp
	case *kmsg.IncrementalAlterConfigsRequest:
		resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for _, rr := range req.Resources {
			s := kmsg.NewIncrementalAlterConfigsResponseResource()
			s.ResourceType, s.ResourceName, s.ErrorCode, s.ErrorMessage = rr.ResourceType, rr.ResourceName, code, &why
			resp.Resources = append(resp.Resources, s)
		}
		return resp
	case *kmsg.CreatePartitionsRequest:
		resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
		for _, rt := range req.Topics {
			s := kmsg.NewCreatePartitionsResponseTopic()
			s.Topic, s.ErrorCode, s.ErrorMessage = rt.Topic, code, &why
			resp.Topics = append(resp.Topics, s)
		}
		return resp
	}
	return req.ResponseKind()
}
