package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// Code classifies an error. Codes are stable on the wire. A Code is itself an error, so that
// errors.Is(err, CodeUnavailable) asks for the class.
type Code uint16

// The codes. The numbers are part of the wire format: never reorder, only append.
const (
	CodeCanceled        Code = 1  // the caller gave up
	CodeDeadline        Code = 2  // the deadline passed
	CodeUnavailable     Code = 3  // no connection, connection lost, or the callee is shutting down: try again later
	CodeUnauthenticated Code = 4  // the callee does not know who calls, or does not allow it
	CodeRefused         Code = 5  // understood and refused: wrong identity, wrong version, wrong types; Reason may tell more
	CodeNotFound        Code = 6  // no such service, method or object
	CodeInvalid         Code = 7  // the request makes no sense
	CodeExhausted       Code = 8  // a bounded queue or quota is full: back off
	CodeAborted         Code = 9  // lost a race (compare-and-swap, changed configuration): read again, then retry
	CodeInternal        Code = 10 // a bug or a failure of the callee
	CodeTooLarge        Code = 11 // past a size limit
)

var codeNames = [...]string{
	CodeCanceled: "canceled", CodeDeadline: "deadline exceeded", CodeUnavailable: "unavailable",
	CodeUnauthenticated: "unauthenticated", CodeRefused: "refused", CodeNotFound: "not found", CodeInvalid: "invalid",
	CodeExhausted: "exhausted", CodeAborted: "aborted", CodeInternal: "internal", CodeTooLarge: "too large",
}

// String names the code.
func (c Code) String() string {
	if int(c) < len(codeNames) && codeNames[c] != "" {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint16(c))
}

// Error makes a Code usable as a target of errors.Is.
func (c Code) Error() string { return c.String() }

// The reasons that this package itself gives with CodeRefused.
const (
	ReasonVersion = "version" // no common version of the wire format or of a service
	ReasonTypes   = "types"   // a stub's methods or types differ from the service's
)

// Error is what every failed call returns, on both sides of the wire.
type Error struct {
	Code    Code
	Message string
	// Reason is an application's own stable word for why ("removed", "not-leader"); empty when the code says it all.
	Reason string

	notSent bool
	cause   error
}

// Errorf makes an Error whose message is formatted as by fmt.Sprintf.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Refusal makes a CodeRefused error with an application's reason.
func Refusal(reason, format string, args ...any) *Error {
	return &Error{Code: CodeRefused, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Error gives "code: message".
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Message
}

// Unwrap gives the local cause; causes do not travel.
func (e *Error) Unwrap() error { return e.cause }

// Is matches a Code, the context errors that mean the same, and another *Error of the same code (and reason if it has one).
func (e *Error) Is(target error) bool {
	switch t := target.(type) {
	case Code:
		return e.Code == t
	case *Error:
		return e.Code == t.Code && (t.Reason == "" || t.Reason == e.Reason)
	}
	switch target {
	case context.Canceled:
		return e.Code == CodeCanceled
	case context.DeadlineExceeded:
		return e.Code == CodeDeadline
	}
	return false
}

// NotSent reports that the handler surely did not run and never will: the request did not leave this process, or the callee's
// framework refused it before the handler. False means the outcome is unknown or known from the error's code.
func NotSent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.notSent
}

// CodeOf gives the code of an error: 0 for nil, CodeInternal for an error that has none.
func CodeOf(err error) Code {
	if err == nil {
		return 0
	}
	return toError(err).Code
}

// ReasonOf gives the application's reason in an error, if it has one.
func ReasonOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

// toError turns any error into the one that goes on the wire.
func toError(err error) *Error {
	//nolint:errorlint // an unwrapped *Error is passed on as it is; a wrapped one keeps the text around it below
	if e, ok := err.(*Error); ok {
		return e
	}
	var e *Error
	var c Code
	switch {
	case errors.As(err, &e):
		return &Error{Code: e.Code, Reason: e.Reason, Message: err.Error(), cause: err}
	case errors.As(err, &c):
		return &Error{Code: c, Message: err.Error(), cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeDeadline, Message: err.Error(), cause: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: CodeCanceled, Message: err.Error(), cause: err}
	}
	return &Error{Code: CodeInternal, Message: err.Error(), cause: err}
}

// notSentError marks a copy of err as one whose request never reached a handler.
func notSentError(err error) *Error {
	e := *toError(err)
	e.notSent = true
	return &e
}

// contextError turns the end of a context into an Error.
func contextError(ctx context.Context, what string, notSent bool) *Error {
	code := CodeCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = CodeDeadline
	}
	return &Error{Code: code, Message: what, notSent: notSent, cause: context.Cause(ctx)}
}

// Texts in errors that travel are cut to these bounds, so that an error always fits a frame.
const (
	maxErrorMessageBytes = 16 << 10
	maxErrorReasonBytes  = 256
)

func appendError(b []byte, e *Error) []byte {
	b = binary.AppendUvarint(b, uint64(e.Code))
	b = appendString(b, e.Reason[:min(len(e.Reason), maxErrorReasonBytes)])
	return appendString(b, e.Message[:min(len(e.Message), maxErrorMessageBytes)])
}

func decodeError(b []byte) (*Error, error) {
	code, n := binary.Uvarint(b)
	if n <= 0 || code == 0 || code > 0xffff {
		return nil, errors.New("malformed error code")
	}
	reason, b, err := cutString(b[n:])
	if err != nil {
		return nil, fmt.Errorf("error reason: %w", err)
	}
	message, _, err := cutString(b)
	if err != nil {
		return nil, fmt.Errorf("error message: %w", err)
	}
	return &Error{Code: Code(code), Reason: reason, Message: message}, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func cutString(b []byte) (string, []byte, error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return "", nil, errors.New("truncated string")
	}
	b = b[used:]
	return string(b[:n]), b[n:], nil
}
