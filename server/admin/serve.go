package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/rpc"
)

const (
	// MaxWaiters bounds the calls of WaitStatus that wait at one time.
	MaxWaiters = 1024
	// maxWait bounds one such call, and waitMargin is the time left for its answer to travel.
	maxWait    = 5 * time.Minute
	waitMargin = 200 * time.Millisecond
	// maxTokenBytes bounds the token file.
	maxTokenBytes = 4096
)

// Node is what the service steers.
type Node interface {
	// Status is up to date, but for the generation.
	Status(context.Context) Status
	// Bootstrap returns once the node is the voter that the request wants.
	Bootstrap(context.Context, BootstrapRequest) error
	// Change and Transfer have the errors of package raft/node and raft.
	Change(ctx context.Context, configIndex raft.Index, changes ...raft.Change) ([]raft.NodeID, raft.Index, error)
	Transfer(ctx context.Context, to raft.NodeID) (raft.NodeID, error)
	// Refound and Abandon return when what they ask for has begun, or was done before.
	Refound(context.Context, RefoundRequest) error
	Abandon(context.Context, AbandonRequest) error
}

// Register offers the service on the peer port's server. tokenFile is read for every caller, so that a token can be replaced, and now and then, so that
// those who came with the one before go (see TokenGrace); when it is empty all are refused.
func Register(server *rpc.Server, n Node, board *Board, tokenFile string) error {
	if tokenFile != "" {
		server.Background(func(ctx context.Context) { endOldTokens(ctx, server, tokenFile) })
	}
	s := &service{node: n, board: board, waiters: semaphore.NewWeighted(MaxWaiters)}
	return rpc.Register(server, ServiceName, Service{
		Status: s.status, WaitStatus: s.waitStatus, Bootstrap: s.bootstrap,
		ChangeMembership: s.change, TransferLeadership: s.transfer,
		Refound: s.refound, Abandon: s.abandon,
	}, rpc.Authorize(authorizer(tokenFile)))
}

// ReadToken reads a token file. White space around the token does not count.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read --admin-token-file: %w", err)
	}
	if info.Size() > maxTokenBytes {
		return "", fmt.Errorf("--admin-token-file %s has %d bytes, a token has at most %d", path, info.Size(), maxTokenBytes)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read --admin-token-file: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if token == "" {
		return "", fmt.Errorf("--admin-token-file %s is empty: write a long random word into it", path)
	}
	return token, nil
}

func authorizer(tokenFile string) rpc.AuthorizeFunc {
	return func(_ context.Context, _ string, md rpc.Metadata, _ net.Addr) error {
		if tokenFile == "" {
			return rpc.Errorf(rpc.CodeUnauthenticated, "this node takes no admin calls, since it was started without --admin-token-file")
		}
		want, err := ReadToken(tokenFile)
		if err != nil {
			return rpc.Errorf(rpc.CodeUnauthenticated, "the node cannot read its own admin token: %v", err)
		}
		if !equalTokens(md[MetadataToken], want) {
			return rpc.Errorf(rpc.CodeUnauthenticated, "the admin token is missing or wrong")
		}
		return nil
	}
}

// equalTokens takes the same time whatever the tokens have in common, their lengths included.
func equalTokens(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

type service struct {
	node    Node
	board   *Board
	waiters *semaphore.Weighted
}

func (s *service) status(ctx context.Context, _ *StatusRequest) (*Status, error) {
	return s.fresh(ctx), nil
}

// fresh brings the board up to date and returns what it says.
func (s *service) fresh(ctx context.Context) *Status {
	status := s.board.Refresh(func() Status { return s.node.Status(ctx) })
	return &status
}

func (s *service) waitStatus(ctx context.Context, req *WaitStatusRequest) (*Status, error) {
	if !s.waiters.TryAcquire(1) {
		return nil, rpc.Errorf(rpc.CodeExhausted, "%d calls wait for the status of this node already: call again later", MaxWaiters)
	}
	defer s.waiters.Release(1)
	patience := maxWait
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)-waitMargin)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		status, changed := s.board.Status()
		if status.Generation != req.Generation {
			return s.fresh(ctx), nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return s.fresh(ctx), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *service) bootstrap(ctx context.Context, req *BootstrapRequest) (*Status, error) {
	if req.ClusterID == 0 || req.Incarnation == 0 || req.Member.PeerAddress == "" {
		return nil, rpc.Errorf(rpc.CodeInvalid, "a bootstrap names a cluster ID, the node's incarnation and its peer address")
	}
	if err := s.node.Bootstrap(ctx, *req); err != nil {
		return nil, err
	}
	return s.fresh(ctx), nil
}

func (s *service) refound(ctx context.Context, req *RefoundRequest) (*Status, error) {
	if req.ClusterID == 0 || req.NewClusterID == 0 || req.NewClusterID == req.ClusterID || req.Incarnation == 0 || req.Member.PeerAddress == "" {
		return nil, rpc.Errorf(rpc.CodeInvalid, "a recovery names the cluster, another ID for the new one, the node's incarnation and its peer address")
	}
	if err := s.node.Refound(ctx, *req); err != nil {
		return nil, err
	}
	return s.fresh(ctx), nil
}

func (s *service) abandon(ctx context.Context, req *AbandonRequest) (*Status, error) {
	if req.ClusterID == 0 || req.Incarnation == 0 {
		return nil, rpc.Errorf(rpc.CodeInvalid, "the call names the cluster that was given up and the node's incarnation")
	}
	if err := s.node.Abandon(ctx, *req); err != nil {
		return nil, err
	}
	return s.fresh(ctx), nil
}

func (s *service) change(ctx context.Context, req *ChangeRequest) (*ChangeResponse, error) {
	if len(req.Changes) == 0 || len(req.Changes) > raft.MaxMembers {
		return nil, rpc.Errorf(rpc.CodeInvalid, "a call makes 1 to %d changes, not %d", raft.MaxMembers, len(req.Changes))
	}
	ids, index, err := s.node.Change(ctx, req.ConfigIndex, req.Changes...)
	if err != nil {
		return nil, explain(err)
	}
	return &ChangeResponse{IDs: ids, ConfigIndex: index}, nil
}

func (s *service) transfer(ctx context.Context, req *TransferRequest) (*TransferResponse, error) {
	leader, err := s.node.Transfer(ctx, req.To)
	if err != nil {
		return nil, explain(err)
	}
	return &TransferResponse{Leader: leader}, nil
}

// explain gives an error the reason by which callers tell it apart.
func explain(err error) error {
	for _, x := range []struct {
		is     error
		code   rpc.Code
		reason string
	}{
		{raft.ErrNotLeader, rpc.CodeRefused, ReasonNotLeader},
		{raft.ErrNoLeader, rpc.CodeRefused, ReasonNotLeader},
		{raft.ErrConfigMoved, rpc.CodeAborted, ReasonConfigMoved},
		{raft.ErrChangePending, rpc.CodeUnavailable, ReasonChangePending},
		{raft.ErrTransferring, rpc.CodeUnavailable, ReasonChangePending},
		{raft.ErrUnsafeChange, rpc.CodeRefused, ReasonUnsafe},
		{raft.ErrNotCaughtUp, rpc.CodeRefused, ReasonNotCaughtUp},
		{raft.ErrJointVersion, rpc.CodeRefused, ReasonJointVersion},
		{raft.ErrChangeRefused, rpc.CodeRefused, ReasonRefused},
		{raft.ErrTransferRefused, rpc.CodeRefused, ReasonRefused},
		{node.ErrChangeUnknown, rpc.CodeUnavailable, ""},
		{node.ErrTransferFailed, rpc.CodeUnavailable, ""},
		{node.ErrStopped, rpc.CodeUnavailable, ""},
		{node.ErrBusy, rpc.CodeExhausted, ""},
		{raft.ErrBusy, rpc.CodeExhausted, ""},
	} {
		if errors.Is(err, x.is) {
			return &rpc.Error{Code: x.code, Reason: x.reason, Message: err.Error()}
		}
	}
	return err
}
