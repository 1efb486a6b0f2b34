package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/pinflow/pinflow/internal/fault"
)

// folder is the data folder, held by this process alone.
type folder struct {
	path string
	lock *flock.Flock
}

// openFolder makes the data folder if need be, proves that it can be written, and locks it. The lock
// goes with the process, however it ends.
func openFolder(path string) (*folder, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding the data folder: %w", err)
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return nil, folderFault(abs, err)
	}
	name := filepath.Join(abs, "up.lock")
	lock := flock.New(name, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o644))
	got, err := lock.TryLock()
	if err != nil {
		return nil, folderFault(abs, err)
	}
	if !got {
		by := "another process"
		if pid, _, err := readLock(abs); err == nil && pid != "" {
			by = "process " + pid
		}
		return nil, fault.New(fault.Config, "data_in_use", "the data folder %s is in use by %s", abs, by).
			WithAdvice("stop it, or choose another folder with --data DIR").WithExit(fault.ExitConflict)
	}
	f := &folder{abs, lock}
	if err := f.tell(""); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// tell writes into the lock's file who has it, and where the embedded log's Kafka port is.
func (f *folder) tell(kafka string) error {
	if err := os.WriteFile(filepath.Join(f.path, "up.lock"), []byte(strconv.Itoa(os.Getpid())+"\n"+kafka+"\n"), 0o644); err != nil {
		return folderFault(f.path, err)
	}
	return nil
}

// readLock is what whoever holds the folder wrote into the lock's file; kafka is "" while it has no port.
func readLock(path string) (pid, kafka string, err error) {
	raw, err := os.ReadFile(filepath.Join(path, "up.lock"))
	if err != nil {
		return "", "", err
	}
	pid, kafka, _ = strings.Cut(string(raw), "\n")
	return strings.TrimSpace(pid), strings.TrimSpace(kafka), nil
}

// useFolder makes the data folder if need be, for a process that shares it with others.
func useFolder(path string) (*folder, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding the data folder: %w", err)
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return nil, folderFault(abs, err)
	}
	return &folder{path: abs}, nil
}

// held tells whether this process has the folder for itself.
func (f *folder) held() bool { return f.lock != nil }

func (f *folder) close() error {
	if f.lock == nil {
		return nil
	}
	if err := f.lock.Unlock(); err != nil {
		return fmt.Errorf("unlocking the data folder: %w", err)
	}
	return nil
}

// folderFault says of a failed access to the data folder what to do about it.
func folderFault(path string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.New(fault.Config, "disk_full", "the disk of the data folder %s is full", path).
			WithAdvice("free some space, or choose another folder with --data DIR").WithExit(fault.ExitFailed)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.New(fault.Config, "not_writable", "the data folder %s cannot be written: %w", path, err).
			WithAdvice("make it writable for this user, or choose another folder with --data DIR").WithExit(fault.ExitFailed)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return fault.New(fault.Config, "not_a_folder", "%s is not a folder: %w", path, err).
			WithAdvice("choose another folder with --data DIR").WithExit(fault.ExitFailed)
	}
	return fmt.Errorf("opening the data folder %s: %w", path, err)
}
