package ledger

import "github.com/pinflow/pinflow/internal/span"

// Conserved tells whether every offset of a partition is accounted for: position − start = the sum of
// the counts, for each unit that reads it; and where both units stand at the same offset, they counted
// the same. Units that stood apart when a reset was accepted never will: they lost different records, or
// one of them a part of its dedup window.
func (p *Progress) Conserved(k span.Key) bool {
	start := p.Start[k]
	if batch, ok := p.Batch[k]; ok && batch-start != p.BatchCounts[k].Sum() {
		return false
	}
	live, ok := p.Live[k]
	if !ok {
		return true
	}
	apart := p.LiveCounts[k].Lost != p.BatchCounts[k].Lost || p.Horizon[k] > start
	return live-start == p.LiveCounts[k].Sum() && (apart || live != p.Batch[k] || p.LiveCounts[k] == p.BatchCounts[k])
}

// LogsOf returns the logs of a stream, by id.
func (s *Snapshot) LogsOf(stream string) []Log {
	var logs []Log
	for _, l := range s.Logs {
		if l.Stream == stream {
			logs = append(logs, l)
		}
	}
	return logs
}
