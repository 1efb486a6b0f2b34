// Package e2e drives the real binary from outside: processes killed with -9, an independent Iceberg
// reader, a browser, and surroundings that are wrong.
//
// PINFLOW_BIN names the binary (make e2e builds it), PINFLOW_PYTHON a Python with pyiceberg.
// PINFLOW_SOAK makes it longer.
package e2e
