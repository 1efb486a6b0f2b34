package days

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// day is a date of a zone, in days since 1970-01-01.
type day struct {
	zone *calendar.Zone
	date int64
}

func (d day) String() string { return time.Unix(d.date*86400, 0).UTC().Format(time.DateOnly) }

func (d day) next() day { return day{d.zone, d.date + 1} }

// end is the moment at which the next day begins in the zone.
func (d day) end() time.Time {
	return time.UnixMicro(calendar.NewClock(d.zone).Midnight(d.date + 1)).UTC()
}

// dayAt is the date that a moment has in the zone.
func dayAt(z *calendar.Zone, at time.Time) day {
	return day{z, calendar.NewClock(z).Date(at.UnixMicro())}
}

// dayOf reads a stored date; false if it is none.
func dayOf(z *calendar.Zone, date string) (day, bool) {
	t, err := time.Parse(time.DateOnly, date)
	return day{z, t.Unix() / 86400}, err == nil
}

// zones are the time zones in which a stream's days matter: UTC and those of its views' versions, by name.
func zones(snap *ledger.Snapshot, stream string) []*calendar.Zone {
	names := []string{"UTC"}
	for _, v := range snap.Views {
		if v.Stream != stream {
			continue
		}
		for _, x := range v.Versions {
			var d struct {
				TimeZone string `json:"time_zone"`
			}
			if x.State != ledger.Dropped && json.Unmarshal(x.Definition, &d) == nil && d.TimeZone != "" {
				names = append(names, d.TimeZone)
			}
		}
	}
	slices.Sort(names)
	var all []*calendar.Zone
	for _, name := range slices.Compact(names) {
		if z, err := calendar.Load(name); err == nil { // a version with an unknown zone does not compile either
			all = append(all, z)
		}
	}
	return all
}

// gate is what keeps a day from being complete.
type gate struct {
	key  span.Key
	what string // live | lake | conservation
	at   int64  // where it stands
	want int64
}

// blocked returns the first gate that is still closed for a cut, in the order of the partitions; nil when
// the day is complete. The live unit does not read dead logs.
func blocked(cut span.Vector, p *ledger.Progress, dead map[span.Log]bool) *gate {
	keys := make([]span.Key, 0, len(cut))
	for k := range cut {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, span.Key.Compare)
	for _, k := range keys {
		switch {
		case !dead[k.Log] && p.Live[k] < cut[k]:
			return &gate{k, "live", p.Live[k], cut[k]}
		case p.Lake[k] < cut[k]:
			return &gate{k, "lake", p.Lake[k], cut[k]}
		case !p.Conserved(k):
			return &gate{k, "conservation", p.BatchCounts[k].Sum(), p.Batch[k] - p.Start[k]}
		}
	}
	return nil
}

// totals are the counts of a stream at a landing, of all its logs since their start.
type totals struct {
	Rows       int64 `json:"rows"`
	Dead       int64 `json:"dead"`
	Duplicates int64 `json:"duplicates"`
	Gaps       int64 `json:"gaps"`
	Lost       int64 `json:"lost"`
}

func totalsOf(p *ledger.Progress, logs []ledger.Log) totals {
	var sum ledger.Counts
	for _, l := range logs {
		for part := range l.Partitions {
			sum = sum.Add(p.BatchCounts[span.Key{Log: l.ID, Partition: part}])
		}
	}
	return totals(sum)
}
