package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/bootstrap"
	"github.com/raftkv/raftkv/replica/identity"
)

type bootstrapCall struct {
	cluster raft.ClusterID
	first   raft.Member
	done    chan error
}

type formation struct {
	table bootstrap.Table
	err   error
}

func (r *Replica) newFormer(id identity.Identity) (*bootstrap.Former, error) {
	if !id.Empty() && !r.cfg.AnyToken && id.ClusterToken != "" && id.ClusterToken != bootstrap.TokenHash(r.cfg.InitialToken) {
		return nil, fmt.Errorf("%s belongs to member %s of cluster %s, which was formed with another --initial-cluster-token: "+
			"give this node its own --data-dir, or the token of that cluster", r.dir.Path(), id.MemberID, id.ClusterID)
	}
	return bootstrap.NewFormer(bootstrap.Options{
		Name: r.cfg.Name, Incarnation: id.Incarnation, Token: r.cfg.InitialToken, Members: r.cfg.InitialCluster,
		Dir: r.dir.Path(), Formed: !id.Empty(), Logger: r.logger, Dial: r.cfg.Dial,
	})
}

// becomeMember waits for whichever comes first: the static cluster has formed, an administrator bootstraps, a leader adopts. It
// returns at once when there is a member already, and nil without one when ctx has ended.
func (r *Replica) becomeMember(ctx context.Context) error {
	if r.now() != nil {
		return nil
	}
	forming, cancel := context.WithCancel(ctx)
	defer cancel()
	formed := make(chan formation, 1)
	if r.former != nil {
		r.serving.Go(func() {
			table, err := r.former.Run(forming)
			formed <- formation{table, err}
		})
	} else {
		r.logger.Info("this node is empty: it waits to be bootstrapped, or added to a cluster", "incarnation", r.dir.Identity().Incarnation.String())
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-formed:
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(f.err, bootstrap.ErrJoin) {
				r.logger.Warn("this node waits to be added to the cluster as a new member", "reason", f.err, "incarnation", r.dir.Identity().Incarnation.String())
				r.setState(StateEmpty)
				continue
			}
			if f.err != nil {
				return f.err
			}
			return r.form(f.table)
		case a := <-r.door.adopted:
			if r.former != nil && !r.former.Adopt() {
				continue // it has promised itself to a static cluster since the leader asked
			}
			r.logger.Info("a leader has added this node", "cluster", a.cluster.String(), "member", a.member.String())
			return r.become(a.cluster, a.member, "", func(dir string) error {
				return r.prepare.joining(dir, r.identityAs(a.cluster, a.member))
			})
		case call := <-r.bootstraps:
			r.logger.Info("bootstrapping a new cluster", "cluster", call.cluster.String())
			err := r.become(call.cluster, call.first.ID, "", func(dir string) error {
				return r.prepare.first(dir, r.identityAs(call.cluster, call.first.ID), bootstrap.FirstMembership(call.first))
			})
			call.done <- err
			return err
		}
	}
}

// form makes the directory one of the static cluster's.
func (r *Replica) form(t bootstrap.Table) error {
	self, _ := t.Find(r.cfg.Name)
	r.logger.Info("the static cluster has formed", "cluster", t.ClusterID().String(), "member", self.ID.String(), "members", len(t.Members))
	return r.become(t.ClusterID(), self.ID, t.Token, func(dir string) error {
		return r.prepare.first(dir, r.identityAs(t.ClusterID(), self.ID), t.Membership())
	})
}

// become makes the directory a member's and runs that.
func (r *Replica) become(cluster raft.ClusterID, id raft.NodeID, token string, prepare func(dir string) error) error {
	if err := r.dir.BecomeMember(cluster, id, token, prepare); err != nil {
		return err
	}
	if token != "" {
		r.former.Formed()
	}
	return r.begin()
}

// identityAs is the directory's identity once it is that member's.
func (r *Replica) identityAs(cluster raft.ClusterID, id raft.NodeID) identity.Identity {
	out := r.dir.Identity()
	out.ClusterID, out.MemberID = cluster, id
	return out
}

func (r *Replica) setAside() error {
	aside, err := r.dir.SetAside(bootstrap.TableFile)
	if err != nil {
		return fmt.Errorf("set the removed member's directory aside: %w", err)
	}
	r.logger.Warn("set the removed member's directory aside; it is safe to delete once nobody wants its data", "path", aside,
		"incarnation", r.dir.Identity().Incarnation.String())
	return nil
}

// Bootstrap makes an empty directory that of the only voter of a new cluster, with the addresses of first; its ID, and a Name that is not given,
// are set here. incarnation is that of the directory that was decided on (Status). Asked again for the same cluster it answers the same.
func (r *Replica) Bootstrap(ctx context.Context, cluster raft.ClusterID, incarnation raft.Incarnation, first raft.Member) error {
	id, state := r.standing()
	switch {
	case id.Incarnation != incarnation:
		return fmt.Errorf("%w: incarnation %s was meant, this directory is of incarnation %s", ErrIncarnation, incarnation, id.Incarnation)
	case !id.Empty() && id.ClusterID == cluster && id.MemberID == bootstrap.AdminFirstID:
		return nil
	case !id.Empty():
		return fmt.Errorf("%w: it belongs to member %s of cluster %s", ErrNotEmpty, id.MemberID, id.ClusterID)
	case r.former != nil:
		return fmt.Errorf("%w: this node is %s of a static cluster by its --initial-cluster", ErrNotEmpty, state)
	}
	first.ID, first.Learner, first.Incarnation = bootstrap.AdminFirstID, false, incarnation
	if first.Name == "" {
		first.Name = r.cfg.Name
	}
	call := bootstrapCall{cluster: cluster, first: first, done: make(chan error, 1)}
	select {
	case r.bootstraps <- call:
	case <-r.began:
		return r.Bootstrap(ctx, cluster, incarnation, first) // it has become somebody's meanwhile
	case <-r.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-call.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
