package backend

import "errors"

// What may become of a request. Texts behind a wrap say why.
var (
	// ErrUnavailable: surely not applied; the same request may be sent again, to any node.
	ErrUnavailable = errors.New("not available")
	// ErrBusy: surely not applied, because a bounded queue is full; send it again later.
	ErrBusy = errors.New("too busy")
	// ErrUnknown: perhaps applied.
	ErrUnknown = errors.New("the outcome is unknown")
	// ErrTooLarge: the request can never be accepted.
	ErrTooLarge = errors.New("too large")
	// ErrNoSpace: surely not applied; the store is as large as it may be, and takes deletions only.
	ErrNoSpace = errors.New("the store is full")
	// ErrUnsupported: surely not applied; a member of the cluster runs a build that does not know this kind of request.
	ErrUnsupported = errors.New("not supported yet by every member")
)
