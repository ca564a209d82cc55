package client

import (
	"context"
	"math/rand/v2"
	"sync"

	"github.com/raftkv/raftkv/client/wire"
)

// sessionWindow is how many writes of one client are under way at the same time; the cluster allows twice as many. Further ones wait.
const sessionWindow = 4096

// session is one that the cluster keeps for this client. Each write under way holds a sequence of it.
type session struct {
	id uint64

	mu sync.Mutex
	// next is the sequence that is given out next; all below low are given back.
	next, low uint64
	// held tells of the sequences from low to next, each at its remainder, which are still held.
	held [sessionWindow]bool
	// room is closed when low has moved; nil while nobody waits for it.
	room chan struct{}
}

// take gives out a sequence. It waits while the window is full.
func (s *session) take(ctx context.Context) (uint64, error) {
	for {
		s.mu.Lock()
		if s.next-s.low < sessionWindow {
			sequence := s.next
			s.next++
			s.held[sequence%sessionWindow] = true
			s.mu.Unlock()
			return sequence, nil
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// giveBack says that a sequence is not asked for again.
func (s *session) giveBack(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[sequence%sessionWindow] = false
	before := s.low
	for s.low < s.next && !s.held[s.low%sessionWindow] {
		s.low++
	}
	if s.low != before && s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// lowest is the lowest sequence that is held.
func (s *session) lowest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.low
}

// sessions opens a session when the first write needs it, and another when that has expired.
type sessions struct {
	origin uint64

	mu      sync.Mutex
	current *session
	// opening is closed when the attempt that is under way has ended.
	opening chan struct{}
	// nonce tells the openings apart: asking again with the same one opens no other.
	nonce uint64
}

func newSessions() *sessions {
	return &sessions{origin: randomID(), nonce: randomID()}
}

// randomID is not zero.
func randomID() uint64 { return 1 + rand.Uint64N(1<<63) }

// get gives the open session. One caller at a time opens it, with open; the others wait.
func (s *sessions) get(ctx context.Context, open func(context.Context, *wire.SessionRequest) (uint64, error)) (*session, error) {
	for {
		s.mu.Lock()
		if s.current != nil {
			defer s.mu.Unlock()
			return s.current, nil
		}
		if wait := s.opening; wait != nil {
			s.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		ended := make(chan struct{})
		s.opening = ended
		request := &wire.SessionRequest{Origin: s.origin, Nonce: s.nonce}
		s.mu.Unlock()

		id, err := open(ctx, request)
		s.mu.Lock()
		s.opening = nil
		if err == nil {
			s.current = &session{id: id, next: 1, low: 1}
			s.nonce = randomID()
		}
		s.mu.Unlock()
		close(ended)
		if err != nil {
			return nil, err
		}
	}
}

// expired gives a session up.
func (s *sessions) expired(old *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == old {
		s.current = nil
	}
}
