package main

import (
	"fmt"
	"strings"
	"testing"
)

// log writes what `go test -json` tells of a test with one claim.
func log(test, value string, actions ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{\"Action\":\"attr\",\"Package\":\"x/p\",\"Test\":%q,\"Key\":\"pinflow.invariant\",\"Value\":%q}\n", test, value)
	for i, a := range actions {
		name, _, _ := strings.Cut(test, "/")
		if i == 0 {
			name = test
		}
		fmt.Fprintf(&b, "{\"Action\":%q,\"Package\":\"x/p\",\"Test\":%q}\n", a, name)
	}
	return b.String()
}

func rowOf(t *testing.T, number, logs string) (string, []string) {
	t.Helper()
	e := newEvidence()
	if err := e.read(strings.NewReader(logs)); err != nil {
		t.Fatal(err)
	}
	text, missing := render(e)
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, "| "+number+" |") {
			cells := strings.Split(l, "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			return strings.Join(cells[3:len(cells)-1], "|"), missing
		}
	}
	t.Fatalf("no row of %s in\n%s", number, text)
	return "", nil
}

func TestOnlyWhatPassedProves(t *testing.T) {
	for name, tc := range map[string]struct{ number, logs, row string }{
		"nothing":           {"L1", "", "|missing|missing|missing|missing|missing|missing"},
		"passed":            {"L1", log("TestA", "L1 on disk,sqlite", "pass"), "|missing|missing|proved|missing|proved|missing"},
		"failed":            {"L1", log("TestA", "L1 on disk,sqlite", "fail"), "|missing|missing|missing|missing|missing|missing"},
		"skipped":           {"L1", log("TestA", "L1 on disk,sqlite", "skip"), "|missing|missing|missing|missing|missing|missing"},
		"part passed":       {"L2", log("TestA/L2", "L2 on sqlite", "pass", "pass"), "|||||proved|missing"},
		"whole failed":      {"L2", log("TestA/L2", "L2 on sqlite", "pass", "fail"), "|||||missing|missing"},
		"never ended":       {"L2", log("TestA/L2", "L2 on sqlite", "pass"), "|||||missing|missing"},
		"another axis":      {"L3", log("TestA", "L3 on sqlite", "pass"), "|||missing|missing||"},
		"stand-in":          {"L3", log("TestA", "L3", "pass"), "|||missing|missing||"},
		"no axis":           {"M2", log("TestA", "M2", "pass"), "proved||||||"},
		"no axis, none":     {"M2", "", "missing||||||"},
		"stand-in, ledgers": {"M4", log("TestA", "M4", "pass"), "|||||missing|missing"},
	} {
		row, missing := rowOf(t, tc.number, tc.logs)
		if row != tc.row {
			t.Errorf("%s: %s, want %s", name, row, tc.row)
		}
		if strings.Contains(row, "missing") != strings.Contains(" "+strings.Join(missing, "; "), tc.number) {
			t.Errorf("%s: %s, but missing is %v", name, row, missing)
		}
	}
}

func TestUnknownClaimsAreRefused(t *testing.T) {
	if err := newEvidence().read(strings.NewReader(log("TestA", "L99 on disk", "pass"))); err == nil {
		t.Error("L99 was taken")
	}
}

func TestTestsThatProveAreFound(t *testing.T) {
	found, err := provers("../../..")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range found {
		all = append(all, p.tests...)
	}
	for _, want := range []string{"TestContract", "TestDaysOfFaults", "TestFoldAndMergeAnyWay"} {
		if !strings.Contains(strings.Join(all, " "), want) {
			t.Errorf("%s is not among %v", want, all)
		}
	}
}
