package e2e

import "syscall"

// withUs has the kernel kill a child when the test process dies, however that comes about: by its time-out, by a
// second Ctrl-C, by kill -9. No test's clean-up runs then.
func withUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
