package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// page serves the built page. It is small, so it is kept in memory with its hashes.
type page struct {
	files map[string]file // by path, "index.html" among them
}

type file struct {
	bytes []byte
	gzip  []byte // nil: not worth it
	kind  string
	etag  string
	cache string
}

const index = "index.html"

func newPage(tree fs.FS) (*page, error) {
	p := &page{files: map[string]file{}}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		f := file{bytes: b, kind: mime.TypeByExtension(path.Ext(name)), cache: "no-cache"}
		switch path.Ext(name) { // whatever the machine's tables say
		case ".html":
			f.kind = "text/html; charset=utf-8"
		case ".js":
			f.kind = "text/javascript; charset=utf-8"
		case ".css":
			f.kind = "text/css; charset=utf-8"
		case ".svg":
			f.kind = "image/svg+xml"
		}
		if strings.HasPrefix(name, "assets/") { // the name has a hash of what is in it
			f.cache = "public, max-age=31536000, immutable"
		}
		sum := sha256.Sum256(b)
		f.etag = `"` + hex.EncodeToString(sum[:12]) + `"`
		if f.gzip, err = pack(b); err != nil {
			return err
		}
		p.files[name] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the page: %w", err)
	}
	if _, ok := p.files[index]; !ok {
		return nil, nil // built without the page
	}
	return p, nil
}

// serve answers with a file, or with the index for every path that the page routes itself. A missing
// asset is a 404: an old page must notice, not parse HTML as a script.
func (p *page) serve(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	f, ok := p.files[name]
	if !ok {
		if strings.HasPrefix(name, "assets/") {
			return problemf(http.StatusNotFound, "no_such_path", "there is no %s in this version of the page: load it again", name)
		}
		f = p.files[index]
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", f.cache)
	h.Set("ETag", f.etag)
	content := f.bytes
	if f.gzip != nil {
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && r.Header.Get("Range") == "" {
			h.Set("Content-Encoding", "gzip")
			h.Set("ETag", strings.TrimSuffix(f.etag, `"`)+`-gzip"`)
			content = f.gzip
		}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	return nil
}

// pack returns b packed, or nil when that saves next to nothing.
func pack(b []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if out.Len() > len(b)*9/10 {
		return nil, nil
	}
	return out.Bytes(), nil
}
