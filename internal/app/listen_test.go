package app

import (
	"net"
	"strings"
	"testing"

	"github.com/pinflow/pinflow/internal/fault"
)

func TestTakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()

	l, err := listen(net.Listen, addr, false, "HTTP", "--listen", quiet())
	if err != nil {
		t.Fatalf("a port that nobody chose did not fall back: %v", err)
	}
	defer l.Close()
	if l.Addr().String() == addr {
		t.Fatal("got the taken port")
	}

	_, err = listen(net.Listen, addr, true, "HTTP", "--listen", quiet())
	if fault.CodeOf(err) != "port_taken" || fault.ExitCode(err) != fault.ExitConflict || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("a chosen port that is taken: %v", err)
	}
	_, err = listen(net.Listen, "203.0.113.1:80", true, "HTTP", "--listen", quiet())
	if fault.CodeOf(err) != "cannot_listen" {
		t.Errorf("an address that is not ours: %v", err)
	}
}

func TestFolderFaults(t *testing.T) {
	dir := t.TempDir()
	f, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openFolder(dir)
	if fault.CodeOf(err) != "data_in_use" || !strings.Contains(err.Error(), "in use by process ") {
		t.Errorf("a folder in use: %v", err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if f, err = openFolder(dir); err != nil {
		t.Fatalf("after closing: %v", err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openFolder(dir + "/up.lock"); fault.CodeOf(err) != "not_a_folder" {
		t.Errorf("a file: %v", err)
	}
}
