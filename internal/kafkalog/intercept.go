package kafkalog

import "github.com/twmb/franz-go/pkg/kmsg"

// InterceptAll lets fn see each request of an API key before the broker does, and answer it, drop its
// connection (an error) or leave it to the broker (false). For tests that need a broker which fails.
func (b *Broker) InterceptAll(key kmsg.Key, fn func(kmsg.Request) (kmsg.Response, error, bool)) {
	b.cluster.ControlKey(key.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		return fn(r)
	})
}
