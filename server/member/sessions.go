package member

import (
	"errors"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
)

// sessions tells the node how the store's sessions are opened.
type sessions struct{}

func (sessions) Open(origin raft.Incarnation, nonce uint64) ([]byte, error) {
	return kv.OpenSession(origin, nonce).AppendBinary(nil)
}

func (sessions) Opened(result any) (uint64, bool) {
	r, ok := result.(*kv.Result)
	if !ok || r == nil || r.Err != nil {
		return 0, false
	}
	return r.Session, r.Session != 0
}

func (sessions) Expired(result any) bool {
	r, ok := result.(*kv.Result)
	return ok && r != nil && errors.Is(r.Err, kv.ErrExpired)
}
