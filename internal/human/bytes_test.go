package human

import "testing"

func TestBytes(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0 B", 1023: "1,023 B", 1536: "1.5 KiB", 1023.4 * 1024: "1,023 KiB", 1023.6 * 1024: "1 MiB",
		38.24 * (1 << 30): "38.2 GiB", -12_345_678: "-11.8 MiB", 1500833372065896: "1.33 PiB", 1 << 62: "4,096 PiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
}
