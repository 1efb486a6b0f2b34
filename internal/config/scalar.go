package config

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a duration as the files have it: 90s, 36h, 7d, 1d12h.
func ParseDuration(s string) (time.Duration, error) { return parseDuration(s) }

// parseDuration reads 250ms, 90s, 10m, 24h, 7d, 2w and sums of them like 1d12h. A day is 24 hours.
func parseDuration(s string) (time.Duration, error) {
	rest := s
	var total float64
	for first := true; first || rest != ""; first = false {
		n := 0
		for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '.') {
			n++
		}
		v, err := strconv.ParseFloat(rest[:n], 64)
		if err != nil {
			return 0, fmt.Errorf("not a duration: %q", s)
		}
		rest = rest[n:]
		u := 0
		for u < len(rest) && rest[u] >= 'a' && rest[u] <= 'z' {
			u++
		}
		unit, ok := durationUnit(rest[:u])
		if !ok {
			return 0, fmt.Errorf("not a duration: %q", s)
		}
		rest = rest[u:]
		total += v * float64(unit)
	}
	if total > math.MaxInt64 {
		return 0, fmt.Errorf("too long: %q", s)
	}
	return time.Duration(total), nil
}

func durationUnit(u string) (time.Duration, bool) {
	switch u {
	case "ms":
		return time.Millisecond, true
	case "s":
		return time.Second, true
	case "m":
		return time.Minute, true
	case "h":
		return time.Hour, true
	case "d":
		return 24 * time.Hour, true
	case "w":
		return 7 * 24 * time.Hour, true
	}
	return 0, false
}

// parseSize reads 512MiB, 10MB or 4096 as bytes.
func parseSize(s string) (int64, error) {
	n := 0
	for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '.') {
		n++
	}
	v, err := strconv.ParseFloat(s[:n], 64)
	if err != nil {
		return 0, fmt.Errorf("not a size: %q", s)
	}
	unit, ok := sizeUnit(strings.TrimSpace(s[n:]))
	if !ok {
		return 0, fmt.Errorf("not a size: %q", s)
	}
	if v *= unit; v >= math.MaxInt64 {
		return 0, fmt.Errorf("too large: %q", s)
	}
	return int64(v), nil
}

func sizeUnit(u string) (float64, bool) {
	switch strings.ToLower(u) {
	case "", "b":
		return 1, true
	case "kib":
		return 1 << 10, true
	case "mib":
		return 1 << 20, true
	case "gib":
		return 1 << 30, true
	case "tib":
		return 1 << 40, true
	case "kb":
		return 1e3, true
	case "mb":
		return 1e6, true
	case "gb":
		return 1e9, true
	case "tb":
		return 1e12, true
	}
	return 0, false
}

// formatSize writes bytes the way files do: what is read back is the same number. For people there is
// human.Bytes.
func formatSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	u := 0
	for n != 0 && n%1024 == 0 && u < len(units)-1 {
		n, u = n/1024, u+1
	}
	return fmt.Sprintf("%d%s", n, units[u])
}

// checkAddress says what is wrong with host:port, "" if nothing is.
func checkAddress(s string) string {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Sprintf("%q is not an address", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Sprintf("%q is not a port", port)
	}
	return ""
}

// loopback tells whether only this host can reach the address.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
