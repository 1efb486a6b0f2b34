package icelake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	iceio "github.com/apache/iceberg-go/io"

	"github.com/pinflow/pinflow/internal/fault"
)

// fileSystem is what disk needs of an operating system, so that tests can fail or record each step.
type fileSystem interface {
	Create(path string) (writableFile, error) // fails when it exists
	Open(path string) (iceio.File, error)
	Mkdir(path string) error
	SyncDir(path string) error
	Remove(path string) error
	Names(dir string) ([]string, error)
}

type writableFile interface {
	io.Writer
	Sync() error
	Close() error
}

// storage is what the lake needs of a place that holds files. A file that was closed without error is
// there for good, an existing one is never overwritten, and removing one that is gone is no error.
type storage interface {
	iceio.WriteFileIO
	iceio.ReadFileIO
	// List returns the locations of the files in a folder, none if the folder is not there.
	List(folder string) ([]string, error)
	// walk shows the files of a folder, with those of its folders if deep; none if the folder is not there.
	walk(folder string, deep bool, show func(found) error) error
	// answers asks once whether the place of a folder is there: of a bucket, whether it can be listed.
	answers(ctx context.Context, folder string) error
}

// disk is file IO for tables on a local disk. A file that was closed without error is on the disk for
// good, its name and the names of the folders above it too (iceberg-go's own IO syncs nothing).
type disk struct {
	os fileSystem

	mu    sync.Mutex
	known map[string]bool // folders that are there and synced
}

var _ storage = (*disk)(nil)

func newDisk(os fileSystem) *disk { return &disk{os: os, known: map[string]bool{}} }

// localPath returns the path of a file URI, or of a plain path.
func localPath(name string) (string, error) {
	u, err := url.Parse(name)
	if err != nil {
		return "", fmt.Errorf("parsing location %q: %w", name, err)
	}
	switch u.Scheme {
	case "file":
		return filepath.FromSlash(u.Path), nil
	case "":
		return name, nil
	}
	return "", fmt.Errorf("location %q is not on the local disk", name)
}

// fileURI is the location of a local path.
func fileURI(path string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}

func (d *disk) Open(name string) (iceio.File, error) {
	path, err := localPath(name)
	if err != nil {
		return nil, err
	}
	return d.os.Open(path)
}

func (d *disk) ReadFile(name string) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func (d *disk) Create(name string) (iceio.FileWriter, error) {
	path, err := localPath(name)
	if err != nil {
		return nil, err
	}
	if err := d.mkdirAll(filepath.Dir(path)); err != nil {
		return nil, sortDisk(path, err)
	}
	f, err := d.os.Create(path)
	if err != nil {
		return nil, sortDisk(path, err)
	}
	w := &syncedWriter{file: f, buf: bufio.NewWriterSize(f, 64<<10), os: d.os, path: path, dir: filepath.Dir(path)}
	if strings.HasSuffix(path, ".avro") {
		// A manifest's name is on the disk with that of the metadata file, which is the last one of a
		// commit, names it, and lies in the same folder: one sync of the folder a commit, not three.
		w.dir = ""
	}
	return w, nil
}

func (d *disk) WriteFile(name string, p []byte) error {
	w, err := d.Create(name)
	if err != nil {
		return err
	}
	if _, err := w.Write(p); err != nil {
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

// Remove deletes a file; one that is gone already is no error, so that clean-up can be repeated.
func (d *disk) Remove(name string) error {
	path, err := localPath(name)
	if err != nil {
		return err
	}
	if err := d.os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// List names the files of a folder.
func (d *disk) List(folder string) ([]string, error) {
	path, err := localPath(folder)
	if err != nil {
		return nil, err
	}
	names, err := d.os.Names(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for i, name := range names {
		names[i] = strings.TrimSuffix(folder, "/") + "/" + name
	}
	return names, nil
}

func (d *disk) answers(_ context.Context, folder string) error {
	path, err := localPath(folder)
	if err != nil {
		return err
	}
	_, err = d.os.Names(path)
	return err
}

func (d *disk) walk(folder string, deep bool, show func(found) error) error {
	root, err := localPath(folder)
	if err != nil {
		return err
	}
	root = filepath.Clean(root)
	return filepath.WalkDir(root, func(at string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went meanwhile, or never was
			return nil
		case err != nil:
			return err
		case e.IsDir() && at != root && !deep:
			return fs.SkipDir
		case e.IsDir():
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return show(found{at: fileURI(at), modified: info.ModTime(), bytes: info.Size()})
	})
}

// mkdirAll makes the folder and those above it, each synced in its parent before anything is put in it.
func (d *disk) mkdirAll(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mkdirLocked(dir)
}

func (d *disk) mkdirLocked(dir string) error {
	if d.known[dir] {
		return nil
	}
	parent := filepath.Dir(dir)
	err := d.os.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := d.mkdirLocked(parent); err != nil {
			return err
		}
		err = d.os.Mkdir(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Synced even if it was there: whoever made it may have crashed before it synced the parent.
	if err := d.os.SyncDir(parent); err != nil {
		return err
	}
	d.known[dir] = true
	return nil
}

// syncedWriter makes Close mean: durable, name included.
type syncedWriter struct {
	file   writableFile
	buf    *bufio.Writer
	path   string
	dir    string // to be synced; "": not by this file
	os     fileSystem
	err    error // of closing
	closed bool
}

// Write takes bytes; the first failure is repeated by everything after it.
func (w *syncedWriter) Write(p []byte) (int, error) {
	n, err := w.buf.Write(p)
	return n, sortDisk(w.path, err)
}

func (w *syncedWriter) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, r)
}

// Close makes the file durable. One that cannot be is removed: nothing will ever name it.
func (w *syncedWriter) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	w.err = w.buf.Flush()
	if w.err == nil {
		w.err = w.file.Sync()
	}
	if err := w.file.Close(); w.err == nil {
		w.err = err
	}
	if w.err == nil && w.dir != "" {
		w.err = w.os.SyncDir(w.dir)
	}
	if w.err != nil {
		w.err = errors.Join(sortDisk(w.path, w.err), w.os.Remove(w.path))
	}
	return w.err
}

// sortDisk gives a failed write its fault: a full disk may pass.
func sortDisk(path string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.New(fault.Transient, "disk_full", "the disk that holds %s is full: %w", path, err).
			WithAdvice("free some space; work goes on by itself")
	}
	return err
}

// hostFS is the machine's own file system.
type hostFS struct{}

func (hostFS) Create(path string) (writableFile, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

func (hostFS) Open(path string) (iceio.File, error) { return os.Open(path) }
func (hostFS) Mkdir(path string) error              { return os.Mkdir(path, 0o755) }
func (hostFS) Remove(path string) error             { return os.Remove(path) }

func (hostFS) Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (hostFS) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
