package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pinflow": main})
}

// Each file of testdata/script is a session at a shell, against a server that says the same to everybody.
func TestScripts(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(answerAll))
	t.Cleanup(s.Close) // the scripts run in parallel, after this function
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("SERVER", s.URL)
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
	})
}

func answerAll(w http.ResponseWriter, r *http.Request) {
	problem := func(status int, code, detail string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "code": code, "detail": detail})
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /version":
		_, _ = io.WriteString(w, `{"version":"test"}`)
	case "GET /v1/query":
		if r.URL.Query().Get("view") != "pins" {
			problem(http.StatusNotFound, "unknown_view", `there is no view "`+r.URL.Query().Get("view")+`": did you mean "pins"?`)
			return
		}
		_, _ = io.WriteString(w, queryBody)
	case "GET /v1/views":
		_, _ = io.WriteString(w, `{"views":[`+viewBody+`]}`)
	case "GET /v1/views/pins":
		_, _ = io.WriteString(w, viewBody)
	case "GET /v1/days":
		if r.URL.Query().Get("stream") == "none" {
			_, _ = io.WriteString(w, `{"days":[]}`)
			return
		}
		_, _ = io.WriteString(w, `{"days":[`+openDay+`,`+waitingDay+`,`+completeDay+`]}`)
	case "GET /v1/days/2026-11-22":
		_, _ = io.WriteString(w, `{"days":[`+waitingDay+`]}`)
	case "GET /v1/days/2026-11-21":
		_, _ = io.WriteString(w, `{"days":[`+completeDay+`]}`)
	case "GET /v1/days/1999-01-01", "GET /v1/days/2099-01-01":
		_, _ = io.WriteString(w, `{"days":[]}`)
	case "GET /v1/days/2026-11-23":
		_, _ = io.WriteString(w, `{"days":[`+openDay+`]}`)
	case "GET /v1/streams/pin/tail":
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, tailBody)
	case "GET /v1/backfills":
		_, _ = io.WriteString(w, `{"backfills":[{"id":4,"view":"pins","state":"done","version_state":"serving","import":"x.csv"},{"id":3,"view":"pins","state":"cancelled","version_state":"dropped"},{"id":2,"view":"pins","state":"done","version_state":"serving"},{"id":1,"view":"pins","state":"done","version_state":"standby"}]}`)
	case "POST /v1/backfills/2/rollback":
		_, _ = io.WriteString(w, `{"id":2,"view":"pins","version":"8f3c21d0","state":"done","version_state":"standby","days":{"total":3,"done":3}}`)
	case "POST /v1/backfills/3/retry":
		problem(http.StatusConflict, "backfill_state", "there is nothing to retry")
	case "GET /v1/status":
		_, _ = io.WriteString(w, statusBody)
	case "POST /v1/streams/pin/events":
		w.Header().Set("Pinflow-Result", "accepted=2;dead_lettered=1;rejected=0;retry=0")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"request_id":"r","accepted":2,"dead_lettered":1,"rejected":0,"retry":0,"results":[{"index":1,"id":"e-2","status":"dead_lettered","code":"type_mismatch","path":"/n","message":"expected integer"}]}`)
	case "POST /v1/streams/geo/events":
		w.Header().Set("Pinflow-Result", "accepted=0;dead_lettered=0;rejected=0;retry=1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"request_id":"r","retry":1,"results":[{"index":0,"id":"e-9","status":"retry","code":"not_stored","retry_after_ms":800}]}`)
	default:
		problem(http.StatusNotFound, "no_such_path", "there is nothing at "+r.URL.Path)
	}
}

const (
	tailBody = "event: open\ndata: {}\n\n" +
		"event: event\ndata: {\"partition\":1,\"offset\":42,\"id\":\"e-1\",\"received_at\":\"2026-11-23T14:31:02.5Z\",\"event\":{\"a\":1}}\n\n" +
		"event: heartbeat\ndata: {\"at\":\"2026-11-23T14:31:02Z\"}\n\n" +
		"event: event\ndata: {\"partition\":0,\"offset\":3,\"id\":\"e-2\",\"received_at\":\"2026-11-23T14:31:03Z\",\"text\":\"\\u001b[2J\",\"dead_lettered\":{\"code\":\"type_mismatch\",\"path\":\"/n\",\"message\":\"expected integer\"}}\n\n" +
		"event: sampled\ndata: {\"shown\":2,\"of\":1234}\n\n"
	openDay     = `{"stream":"pin","date":"2026-11-23","zone":"UTC","state":"open","complete":0.61,"cut_at":null,"landed_at":null,"deadline_at":"2099-11-24T06:00:00Z","late_events":0,"revised":false,"note":"live lag 1.2s"}`
	waitingDay  = `{"stream":"pin","date":"2026-11-22","zone":"UTC","state":"waiting","complete":0.99984,"cut_at":"2026-11-23T00:10:35Z","landed_at":null,"deadline_at":"2026-11-23T06:00:00Z","late_events":null,"revised":false,"note":"pin/3 is 1200000 records behind in the lake"}`
	completeDay = `{"stream":"pin","date":"2026-11-21","zone":"UTC","state":"complete","complete":1,"cut_at":"2026-11-22T00:10:35Z","landed_at":"2026-11-22T06:12:08Z","deadline_at":"2026-11-22T06:00:00Z","late_events":1204,"revised":true,"note":"revised: 1204 events came late"}`
	queryBody   = `{"columns":["time","category","posted","posters"],
"rows":[["2026-11-22T00:00:00Z","travel",12,7],["2026-11-23T00:00:00Z",null,3,null]],
"points":{"state":["complete","incomplete"]},
"meta":{"complete_to":"2026-11-23T14:31:00Z","from":"2026-11-20T00:00:00Z","to":"2026-11-24T00:00:00Z","grain":"day","time_zone":"UTC","versions":{"pins":"8f3c21d0"},
"coverage":[{"from":"2026-11-20T00:00:00Z","to":"2026-11-22T00:00:00Z","source":"missing"}],
"approx":{"posters":0.016},"revised":[],"warnings":["the day is not over"]}}`
	viewBody = `{"name":"pins","stream":"pin","time_zone":"UTC","grain":"minute","version":"8f3c21d0aabb","state":"serving",
"dimensions":[{"name":"category","type":"string"}],
"measures":[{"name":"posted","agg":"count","type":"long","format":"humanize","unit":"pins"},{"name":"share","agg":"ratio","type":"double","numerator":"video","denominator":"posted"}]}`
	statusBody = `{"at":"2026-11-23T14:31:02Z","ok":false,"problems":["pin/0: 3 events are lost"],
"streams":[{"name":"pin","complete_to":"2026-11-23T14:31:00Z","lag_seconds":2,
"conservation":{"accepted":100,"rows":90,"dead":1,"duplicates":2,"gaps":0,"lost":3,"in_flight":4,"ok":true},"partitions":[],"views":[{"name":"pins","versions":[],"audit":{"at":"2026-11-23T14:30:00Z","from":"2026-11-20","to":"2026-11-22","days":3,"uncovered":0,"rows":270,"differences":2,"wrong_days":1,"wrong":[]}},
{"name":"tags","versions":[],"audit":null}]}],
"ledger":{"segments":{}},"leases":[]}`
)
