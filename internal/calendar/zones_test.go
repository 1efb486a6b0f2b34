package calendar

import "testing"

func TestNearestZone(t *testing.T) {
	for given, want := range map[string]string{
		"Europe/Lodnon":     "Europe/London",
		"Europe/Londn":      "Europe/London",
		"europe/london":     "Europe/London",
		"London":            "Europe/London",
		"Berln":             "Europe/Berlin",
		"new york":          "America/New_York",
		"America/NewYork":   "America/New_York",
		"Europe/New_York":   "America/New_York",
		"Asia/Calcuta":      "Asia/Calcutta",
		"US/Pacfic":         "US/Pacific",
		"utc":               "UTC",
		"UTC+2":             "",
		"+02:00":            "",
		"":                  "",
		"no such place":     "",
		"Mars/Olympus Mons": "",
	} {
		if got := nearestZone(given); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

// What is proposed works.
func TestZonesLoad(t *testing.T) {
	for _, name := range knownZones() {
		if _, err := Load(name); err != nil {
			t.Error(err)
		}
	}
	if len(knownZones()) < 500 {
		t.Errorf("there are %d names", len(knownZones()))
	}
}
