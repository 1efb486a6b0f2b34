//go:build linux || darwin

package kafkalog

import (
	"os"
	"syscall"
)

// freeBytes returns what an ordinary user may still write below dir.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
