package e2e

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Ordinary Kafka clients write to the embedded log and read it: kcat, which is librdkafka's, and kafka-python.
func TestOrdinaryKafkaClients(t *testing.T) {
	python := os.Getenv("PINFLOW_PYTHON")
	if python == "" {
		t.Fatal("PINFLOW_PYTHON is not set: run this with make e2e")
	}
	s := start(t, t.TempDir())
	kcat := exec.Command("kcat", "-b", s.kafka, "-P", "-t", "pin", "-p", "0", "-H", "pf-id=k-1", "-K", "|")
	kcat.Stdin = strings.NewReader(`k|{"category":"kcat"}` + "\n" + `k|{"category":"kcat"}` + "\n" + `k|no JSON` + "\n")
	if out, err := kcat.CombinedOutput(); err != nil {
		t.Fatalf("kcat writes: %v\n%s", err, out)
	}
	if out, err := exec.Command(python, "testdata/kafka_clients.py", "produce", s.kafka, "pin", "40").CombinedOutput(); err != nil {
		t.Fatalf("kafka-python writes: %v\n%s", err, out)
	}
	if status, code := s.send("pin", 7); status != 202 {
		t.Fatalf("%d %s", status, code)
	}
	// The three of kcat have one id: the second and third are duplicates, whatever they hold.
	st := s.settled("pin", 50)
	if c := st.Conservation; c.Rows != 48 || c.Duplicates != 2 || c.Dead != 0 {
		t.Errorf("conservation %+v", c)
	}
	out, err := exec.Command("kcat", "-b", s.kafka, "-C", "-t", "pin", "-o", "beginning", "-e", "-q", "-f", "%k|%s\n").Output()
	if err != nil {
		t.Fatalf("kcat reads: %v", err)
	}
	if n := strings.Count(string(out), "\n"); n != 50 {
		t.Errorf("kcat read %d records, want 50", n)
	}
	if n := strings.Count(string(out), `k|{"category":"kcat"}`); n != 2 {
		t.Errorf("kcat read %d of its own records, want 2", n)
	}
	text, err := exec.Command(python, "testdata/kafka_clients.py", "consume", s.kafka, "pin", "50").CombinedOutput()
	if err != nil {
		t.Fatalf("kafka-python reads: %v\n%s", err, text)
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || n != 50 {
		t.Errorf("kafka-python read %s records, want 50", text)
	}
	s.stop()
}
