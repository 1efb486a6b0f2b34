//go:build !linux

package e2e

import "syscall"

// withUs: only Linux ends a child with its parent.
func withUs() *syscall.SysProcAttr { return nil }
