package rest

import "github.com/raftkv/raftkv/server/backend"

// compactDocument asks that the history before a revision be given up.
type compactDocument struct {
	Revision number `json:"revision"`
	// Physical waits until its space is free for use again on this node.
	Physical bool `json:"physical,omitempty"`
}

type compactAnswer struct {
	Revision number `json:"revision"`
}

func (x *request) compact() error {
	var document compactDocument
	release, err := x.readDocument(&document)
	if err != nil {
		return err
	}
	defer release()
	if document.Revision == 0 {
		return badQuery("revision: write the first revision whose state is to be kept")
	}
	revision, err := x.store.Compact(x.ctx, backend.CompactRequest{Revision: uint64(document.Revision), Physical: document.Physical})
	if err != nil {
		return err
	}
	return x.answer(revision, compactAnswer{Revision: number(revision)})
}
