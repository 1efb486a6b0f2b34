// Package prove lets a passing test say which invariants of the design it is evidence for.
//
// A test calls Invariant once, first thing; the attribute that it leaves in the test's output is
// collected by internal/prove/matrix (make invariants). A test that fails or is skipped says nothing.
package prove
