// Package kafkalog is the log: clients of Apache Kafka's protocol, and the embedded broker.
//
// It owns topics, producing, group consumption and the embedded broker with its guard. It knows no
// stream, schema or ledger: positions are given to it, and it never commits or resets an offset.
// Invariants: an append that answered nil is on disk (embedded) or with every in-sync replica
// (Apache Kafka); the embedded log never shrinks to nothing, so offsets never start again at 0;
// nothing that comes through the Kafka port reaches the embedded broker unscreened.
package kafkalog
