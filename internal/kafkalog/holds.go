package kafkalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Holds tells whether an embedded log in that folder holds records. It opens nothing.
func Holds(dir string) (bool, error) {
	parts, err := os.ReadDir(filepath.Join(dir, partitionsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking at the log: %w", err)
	}
	for _, p := range parts {
		files, err := os.ReadDir(filepath.Join(dir, partitionsDir, p.Name()))
		if err != nil {
			return false, fmt.Errorf("looking at the log: %w", err)
		}
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				return false, fmt.Errorf("looking at the log: %w", err)
			}
			if strings.HasSuffix(f.Name(), segmentSuffix) && info.Size() > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}
