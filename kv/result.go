package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// refusals are the errors of results that a session keeps; an error's place is its code in the format.
var refusals = []error{nil, ErrMalformed, ErrDuplicateKey, ErrEmptyKey, ErrFutureRevision, ErrCompacted,
	ErrLeaseNotFound, ErrLeaseExists, ErrLeaseTTL, ErrTooManyLeases, ErrKeyNotFound, ErrNoSpace}

const resultSucceeded = 1

// encode returns what a session keeps of a result: flags u8, code of the error u8, revision, deleted, current, session.
// It is below session.MaxResultBytes.
func (r *Result) encode() []byte {
	var flags, code byte
	if r.Succeeded {
		flags = resultSucceeded
	}
	if r.Err != nil {
		for i, err := range refusals {
			if err != nil && errors.Is(r.Err, err) {
				code = byte(i)
			}
		}
	}
	// What is kept takes no more than it needs.
	b := append(make([]byte, 0, 2+4*binary.MaxVarintLen64), flags, code)
	for _, v := range [...]uint64{r.Revision, r.Deleted, r.Current, r.Session} {
		b = binary.AppendUvarint(b, v)
	}
	return bytes.Clone(b)
}

func decodeResult(data []byte) (*Result, error) {
	d := decoder{data: data}
	r := &Result{Repeated: true}
	r.Succeeded = d.byte()&resultSucceeded != 0
	code := d.byte()
	for _, p := range []*uint64{&r.Revision, &r.Deleted, &r.Current, &r.Session} {
		*p = d.uvarint()
	}
	if d.failed || int(code) >= len(refusals) {
		return nil, fmt.Errorf("a result that a session keeps cannot be decoded: %x", data)
	}
	r.Err = refusals[code]
	return r, nil
}
