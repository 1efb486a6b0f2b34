package calendar

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"

	"github.com/pinflow/pinflow/internal/nearest"
)

// zoneNames are the IANA names that Go's time zone database knows, those by place first.
//
//go:embed zones.txt
var zoneNames string

var knownZones = sync.OnceValue(func() []string { return strings.Fields(zoneNames) })

// UnknownZone is what to say of a name that is no time zone: what is wrong, and which one may be meant.
func UnknownZone(name string) (message, advice string) {
	if name == "Local" {
		return `time zone "Local" depends on the machine`, "write an IANA name like Europe/London"
	}
	message = fmt.Sprintf("unknown time zone %q", name)
	if near := nearestZone(name); near != "" {
		return message, fmt.Sprintf("did you mean %q?", near)
	}
	return message, "write an IANA name like Europe/London"
}

// nearestZone finds a zone by its name in another spelling, by its city alone, and then by likeness.
func nearestZone(name string) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer(" ", "_", "-", "_").Replace(s)) }
	given := plain(strings.TrimSpace(name))
	if given == "" {
		return ""
	}
	var cities []string
	byCity := map[string]string{}
	for _, z := range knownZones() {
		city := plain(z[strings.LastIndexByte(z, '/')+1:])
		if plain(z) == given {
			return z
		}
		if byCity[city] == "" && strings.Contains(z, "/") && !strings.HasPrefix(z, "Etc/") {
			byCity[city] = z
			cities = append(cities, city)
		}
	}
	city := given[strings.LastIndexByte(given, '/')+1:]
	if z := byCity[city]; z != "" {
		return z
	}
	if strings.ContainsAny(given, "+0123456789") { // an offset: no place is like it
		return ""
	}
	if z := nearest.Name(name, knownZones()); z != "" && strings.Contains(name, "/") {
		return z
	}
	if len(city) < 5 { // nearly any four letters are like some city
		return ""
	}
	return byCity[nearest.Name(city, cities)]
}
