package fault

import (
	"errors"
	"fmt"
)

// Kind says what is to be done about a failure. Only Transient is ever retried.
type Kind uint8

// The kinds.
const (
	Unknown   Kind = iota // not classified: ends the unit
	Record                // one record is bad: to the dead letters
	Transient             // back off and try again
	Config                // stop; a restart will not help
	Stale                 // the catalogue moved: drop what is held, re-read it, go on as the same owner
	Lost                  // another owner took over: drop the partition
	Ambiguous             // outcome unknown: look before trying again
	Corrupt               // stop and keep the bytes
)

var kindNames = [...]string{"unknown", "record", "transient", "config", "stale", "lost", "ambiguous", "corrupt"}

func (k Kind) String() string { return kindNames[k] }

// Error is a failure of a known kind: what happened (Err), where (Where, optional) and what to do (Advice).
type Error struct {
	Kind   Kind
	Code   string // stable, snake_case; see docs/errors.md
	Where  string // file:line, or stream, partition and offset
	Advice string // one sentence, starts with a verb
	Exit   int    // exit code of the process when it ends with this; 0 means 1
	Err    error
}

func (e *Error) Error() string {
	s := e.Err.Error()
	if e.Where != "" {
		s = e.Where + ": " + s
	}
	if e.Advice != "" {
		s += ": " + e.Advice
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a kind with a stable code.
func New(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Err: fmt.Errorf(format, args...)}
}

// WithAdvice sets what the reader should do and returns e.
func (e *Error) WithAdvice(format string, args ...any) *Error {
	e.Advice = fmt.Sprintf(format, args...)
	return e
}

// At sets where it happened and returns e.
func (e *Error) At(format string, args ...any) *Error {
	e.Where = fmt.Sprintf(format, args...)
	return e
}

// WithExit sets the exit code and returns e.
func (e *Error) WithExit(code int) *Error {
	e.Exit = code
	return e
}

// Is tells whether err is of that kind.
func Is(err error, kind Kind) bool { return KindOf(err) == kind }

// KindOf returns the kind of err, Unknown when nothing in its chain says.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Unknown
}

// CodeOf returns the stable code of err, "" when nothing in its chain has one.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Exit codes of the process (UX: 0 ok, 130 interrupted are the shell's business).
const (
	ExitFailed      = 1
	ExitUsage       = 2
	ExitInvalid     = 3 // config, lint or test
	ExitConflict    = 4
	ExitNotComplete = 5
	ExitDeadline    = 6
	ExitUnreachable = 7
	ExitInterrupted = 130
)

// ExitCode is the exit code for err: 0 for nil.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		if e.Exit != 0 {
			return e.Exit
		}
		if e.Kind == Config {
			return ExitInvalid
		}
	}
	return ExitFailed
}
