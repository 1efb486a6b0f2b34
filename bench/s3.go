package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// s3At is the variable that says where a server of S3 is: http://KEY:SECRET@HOST:PORT?region=REGION.
const s3At = "TESTBED_S3"

// s3 starts a server of its own, whose URL is in the environment from then on, unless there is one.
func (e *env) s3() (stop func() error, err error) {
	if os.Getenv(s3At) != "" {
		return func() error { return nil }, nil
	}
	// It ends with its input, so also when this process does; killed, it would leave the server behind.
	cmd := exec.Command(filepath.Join(e.root, "scripts", "with-s3"), "sh", "-c", "echo at $"+s3At+"; cat")
	cmd.Env = append(os.Environ(), "TMPDIR="+e.dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() error {
		return errors.Join(os.Unsetenv(s3At), in.Close(), cmd.Wait())
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if at, ok := strings.CutPrefix(lines.Text(), "at "); ok {
			return stop, os.Setenv(s3At, at)
		}
	}
	return nil, errors.Join(fmt.Errorf("%s told no URL", cmd.Path), stop())
}
