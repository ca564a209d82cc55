package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/raft/wal"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/replica/sealedfile"
)

// Why Refound and Abandon refuse.
var (
	// ErrOtherCluster: the directory belongs to another cluster than was meant.
	ErrOtherCluster = errors.New("the data directory belongs to another cluster than was meant: look again")
	// ErrHasLeader: the cluster works, so that there is nothing to rebuild.
	ErrHasLeader = errors.New("the cluster has a leader: nothing has to be rebuilt")
	// ErrRefounded ends a replica whose directory founds a new cluster now: opened again, it runs as that cluster's only voter.
	ErrRefounded = errors.New("the data directory founds a new cluster now: open it again")
)

// inheritEntries is the number of entries of the old log that are applied at once.
const inheritEntries = 1024

type refoundCall struct {
	cluster raft.ClusterID
	first   raft.Member
	taken   chan error
}

// Refound makes this member of a cluster that has lost its quorum for good the only voter of a new cluster, with all that its log and state
// hold: entries that are not known to be committed are kept, since a quorum that is gone may have stored and acknowledged them. old and
// incarnation are those that the decision was made on; cluster is the new cluster's ID, and first gives the member's addresses. It
// must be asked of the one survivor whose log is the longest (§5.4.1), and only when no quorum of the old cluster can come back: the two
// clusters know nothing of each other.
//
// It returns once the member has begun, or has long done, what was asked; the replica ends with ErrRefounded. The old
// directory is set aside. Asked again for the same cluster it answers the same.
func (r *Replica) Refound(ctx context.Context, old raft.ClusterID, incarnation raft.Incarnation, cluster raft.ClusterID, first raft.Member) error {
	if id, _ := r.standing(); cluster != 0 && id.ClusterID == cluster {
		return nil
	}
	if cluster == 0 || cluster == old {
		return fmt.Errorf("%w: a new cluster needs an ID of its own", ErrOtherCluster)
	}
	if err := r.orphan(old, incarnation); err != nil {
		return err
	}
	call := refoundCall{cluster: cluster, first: first, taken: make(chan error, 1)}
	select {
	case r.refounds <- call:
	case <-r.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-call.taken:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Abandon makes a member of a cluster that was rebuilt elsewhere set its directory aside, as one does that was removed: the replica ends
// with ErrRemoved. It refuses as Refound does.
func (r *Replica) Abandon(cluster raft.ClusterID, incarnation raft.Incarnation) error {
	if err := r.orphan(cluster, incarnation); err != nil {
		return err
	}
	r.logger.Warn("the cluster was given up and rebuilt from another member: this member's directory will be set aside", "cluster", cluster.String())
	r.door.noteRemoved()
	return nil
}

// orphan tells (nil) that the directory is that of the given cluster and incarnation, and its member is without a leader.
func (r *Replica) orphan(cluster raft.ClusterID, incarnation raft.Incarnation) error {
	id, state := r.standing()
	switch {
	case id.Incarnation != incarnation:
		return fmt.Errorf("%w: incarnation %s was meant, this directory is of incarnation %s", ErrIncarnation, incarnation, id.Incarnation)
	case id.ClusterID != cluster || id.Empty():
		return fmt.Errorf("%w: cluster %s was meant, this directory is of cluster %s", ErrOtherCluster, cluster, id.ClusterID)
	case state != StateMember || r.now() == nil:
		return fmt.Errorf("%w: the member is %s", ErrUnavailable, state)
	}
	return r.leaderless()
}

func (r *Replica) leaderless() error {
	if s := r.now().node.Summary(); s.Leader != 0 || s.Role == raft.RoleLeader {
		return fmt.Errorf("%w: member %s", ErrHasLeader, s.Leader)
	}
	return nil
}

// refound carries a call out, after the member has stopped.
func (r *Replica) refound(call refoundCall, known raft.Membership) error {
	old := r.dir.Identity()
	r.logger.Warn("founding a new cluster from this member's state", "old", old.ClusterID.String(), "cluster", call.cluster.String())
	first := call.first
	first.ID, first.Learner = known.LastID+1, false
	if first.Name == "" {
		first.Name = r.cfg.Name
	}
	aside, err := r.dir.Succeed(call.cluster, first.ID, func(dir string, next identity.Identity) error {
		first.Incarnation = next.Incarnation
		return r.inherit(dir, next, first)
	})
	if err != nil {
		return fmt.Errorf("found cluster %s from this member's state: %w", call.cluster, err)
	}
	r.logger.Warn("set the old cluster's directory aside; it is safe to delete once nobody wants its data", "path", aside,
		"cluster", call.cluster.String(), "member", first.ID.String())
	return ErrRefounded
}

// inherit fills a directory with the state that the old member would have if all of its log were committed, and behind that a membership of
// one. The old directory stays what it was: its own state takes in no entry that is not known to be committed.
func (r *Replica) inherit(dir string, next identity.Identity, first raft.Member) (err error) {
	from := r.dir.MemberPath()
	source := &member{id: r.dir.Identity(), logger: r.logger}
	defer func() { err = errors.Join(err, source.closeFiles()) }()
	initial, err := source.open(from, r.cfg)
	if err != nil {
		return err
	}
	heir, err := r.cfg.OpenMachine(Place{Dir: dir, Cluster: next.ClusterID, Ancestor: source.id.ClusterID, New: true, Logger: r.logger})
	if err != nil {
		return err
	}
	err = copyState(source.machine, heir)
	// One StateMachine stands for both: the old one must be closed before the new one moves on.
	err = errors.Join(err, source.closeFiles())
	source.log, source.machine = nil, nil
	if err == nil {
		err = applyRest(heir, initial)
	}
	if x, ok := heir.(Succeeding); ok && err == nil {
		err = x.Succeed()
	}
	if err == nil {
		err = moveOn(heir, initial.HardState.Term, first)
	}
	meta := heir.Applied()
	if err = errors.Join(err, heir.Close()); err != nil {
		return err
	}
	log, _, err := wal.Open(vfs.OS{}, filepath.Join(dir, logDir), wal.Options{Identity: logIdentity(next)})
	if err != nil {
		return err
	}
	err = log.Append([]*raft.StoreRequest{{HardState: &raft.HardState{Term: meta.Term}, Snapshot: &meta}})
	return errors.Join(err, log.Close(), sealedfile.SyncDir(dir))
}

// copyState brings a state into a machine that has none.
func copyState(from, to Machine) (err error) {
	if from.Applied().Index == 0 {
		return nil
	}
	snapshot, err := from.Snapshot(context.Background())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	meta := snapshot.Meta()
	stage, err := to.Stage(meta)
	if err != nil {
		return err
	}
	if _, err := snapshot.WriteTo(io.Writer(stage)); err != nil {
		return errors.Join(err, stage.Abort())
	}
	if err := stage.Commit(); err != nil {
		return err
	}
	return to.Install(meta)
}

// applyRest applies what the log holds behind the state.
func applyRest(heir Machine, initial raft.Initial) error {
	for rest := behind(initial.Entries, heir.Applied().Index); len(rest) > 0; {
		n := min(len(rest), inheritEntries)
		if _, err := heir.Apply(rest[:n]); err != nil {
			return fmt.Errorf("apply the log from index %d: %w", rest[0].Index, err)
		}
		rest = rest[n:]
	}
	return nil
}

// moveOn applies a membership of one, in a term of its own: behind that of the state, and the one that the member has seen.
func moveOn(heir Machine, term raft.Term, first raft.Member) error {
	meta := heir.Applied()
	if meta.Index == 0 {
		return errors.New("the member has received nothing from its cluster yet: there is no state to go on with")
	}
	one := raft.NewMembership(first)
	one.Index = meta.Index + 1
	data, err := one.AppendBinary(nil)
	if err != nil {
		return err
	}
	_, err = heir.Apply([]raft.Entry{{Term: max(term, meta.Term) + 1, Index: one.Index, Type: raft.EntryMembership, Data: data}})
	return err
}

// behind are the entries after an index.
func behind(entries []raft.Entry, index raft.Index) []raft.Entry {
	for i, e := range entries {
		if e.Index > index {
			return entries[i:]
		}
	}
	return nil
}
