package joining

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc"
)

const (
	// roundTimeout bounds one round of questions, and one change that is asked for, roundPause is the pause before the next.
	roundTimeout = 5 * time.Second
	roundPause   = 200 * time.Millisecond
	// promotePause is the pause before a vote is asked for again.
	promotePause = 500 * time.Millisecond
	// reportPause is the pause between two log lines that say the same.
	reportPause = 10 * time.Second
)

// Options describe a node that may be invited.
type Options struct {
	// Name and PeerAddress are this node's, Dir is its data directory.
	Name, PeerAddress, Dir string
	// Members are the addresses to ask at, one or more.
	Members []string
	Replica *replica.Replica
	// Cluster is this node's own, once it is a member.
	Cluster Cluster
	Dial    rpc.DialFunc // nil means TCP
	Logger  *slog.Logger
}

type joiner struct {
	Options
	noted      note
	claimed    note // what was claimed last
	failures   int  // of claims
	reported   string
	reportedAt time.Time
}

// Run claims a place in a cluster while the directory is empty, and asks for the vote that was promised. It returns when there is nothing more to do, or
// ctx ends.
func Run(ctx context.Context, o Options) {
	j := &joiner{Options: o}
	if err := j.join(ctx); err != nil {
		o.Logger.Error("this node cannot join by its address any more; it can be added by its incarnation", "error", err)
		return
	}
	if err := j.askForVote(ctx); err != nil {
		o.Logger.Error("this member cannot ask for its vote: promote it by hand if it is to have one", "error", err)
	}
}

// join asks until the directory is a member's.
func (j *joiner) join(ctx context.Context) error {
	if j.Replica.Status().State != replica.StateEmpty {
		return nil
	}
	members, err := newAsker(j.Members, j.Dial)
	if err != nil {
		return err
	}
	defer members.close()
	for {
		changed := j.Replica.Changed()
		now := j.Replica.Status()
		if ctx.Err() != nil || now.State != replica.StateEmpty {
			return nil
		}
		self := Newcomer{PeerAddress: j.PeerAddress, Incarnation: now.Identity.Incarnation}
		if problem := j.round(ctx, members, self); ctx.Err() == nil {
			j.report("this node is empty and waits for its place in the cluster", problem)
		}
		wait(ctx, changed, roundPause)
	}
}

// round asks everyone once, and claims what is there to be claimed. It returns what is waited for.
func (j *joiner) round(ctx context.Context, members *asker, self Newcomer) (problem string) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	d := decide(j.PeerAddress, members.find(ctx, self))
	if d.claim == nil {
		return d.problem
	}
	// The note comes first: once the place is claimed nobody else knows any more what it was meant to be.
	n := note{Cluster: d.claim.Cluster, Member: d.claim.Member, Incarnation: self.Incarnation, Vote: d.claim.Vote}
	if n != j.noted {
		if err := n.write(j.Dir); err != nil {
			return fmt.Sprintf("a note of the invitation in the data directory: %v", err) // there may be room for it later
		}
		j.noted = n
	}
	at := d.from[j.failures%len(d.from)]
	_, err := members.services[at].Claim(ctx, &Claim{Newcomer: self, Cluster: d.claim.Cluster, Member: d.claim.Member, Name: j.Name})
	if err != nil {
		j.failures++ // whoever was asked may be cut off from the leader: another one is next
		return both(d.problem, fmt.Sprintf("member %s of cluster %s could not be claimed at %s: %v", d.claim.Member, d.claim.Cluster, at, err))
	}
	if n != j.claimed {
		j.Logger.Info("claimed the place that was made for this node", "cluster", d.claim.Cluster.String(), "member", d.claim.Member.String(), "votes", d.claim.Vote)
		j.claimed = n
	}
	return d.problem
}

func both(first, second string) string {
	if first == "" {
		return second
	}
	return first + "; " + second
}

// report says what is waited for, when that is news, and now and then.
func (j *joiner) report(what, problem string) {
	if problem == "" || problem == j.reported && time.Since(j.reportedAt) < reportPause {
		return
	}
	j.Logger.Info(what, "waitingFor", problem)
	j.reported, j.reportedAt = problem, time.Now()
}

// askForVote asks until the member has the vote that it was invited to. That it is a member only may be known later than its identity.
func (j *joiner) askForVote(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-j.Replica.Done():
		return nil
	case <-j.Replica.Running():
	}
	n, err := readNote(j.Dir)
	if err != nil || !n.Vote {
		return err
	}
	for ctx.Err() == nil {
		changed := j.Replica.Changed()
		now := j.Replica.Status()
		if now.State != replica.StateMember || !n.about(now.Identity) {
			return nil
		}
		if self, there := now.Membership.Find(n.Member); there && !self.Learner {
			return nil
		} else if there && now.Ready {
			j.promote(ctx, n.Member)
			changed = nil // what was just tried is not tried again at once
		}
		wait(ctx, changed, promotePause)
	}
	return nil
}

func (j *joiner) promote(ctx context.Context, self raft.NodeID) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	if err := j.Cluster.Change(ctx, raft.Change{Kind: raft.ChangePromote, ID: self}); err != nil {
		j.report("this member is a learner and waits for its vote", err.Error())
		return
	}
	j.Logger.Info("this member votes from now on", "member", self.String())
}

// wait ends early when something has changed.
func wait(ctx context.Context, changed <-chan struct{}, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}

// asker keeps a connection to each address.
type asker struct {
	peers    map[string]*rpc.Peer
	services map[string]*Service
}

func newAsker(addresses []string, dial rpc.DialFunc) (*asker, error) {
	a := &asker{peers: map[string]*rpc.Peer{}, services: map[string]*Service{}}
	for _, at := range addresses {
		p := rpc.NewPeer(rpc.PeerOptions{Address: at, Client: rpc.ClientOptions{Metadata: rpc.Metadata{rpc.MetaKind: ServiceName}, Dial: dial}})
		a.peers[at], a.services[at] = p, new(Service)
		if err := rpc.Bind(p, ServiceName, a.services[at]); err != nil {
			a.close()
			return nil, err
		}
	}
	return a, nil
}

func (a *asker) close() {
	for _, p := range a.peers {
		_ = p.Close() // always nil
	}
}

// answer is what an address says.
type answer struct {
	from  string
	place *Place
	err   error
}

// find asks all addresses at the same time.
func (a *asker) find(ctx context.Context, self Newcomer) []answer {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout/2)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	var out []answer
	for at, service := range a.services {
		asking.Go(func() {
			p, err := service.Find(ctx, &self)
			if err != nil {
				if _, why := a.peers[at].State(); why != nil {
					err = why
				}
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, answer{at, p, err})
		})
	}
	asking.Wait()
	return out
}

// decision is what a round leads to: a place to claim, at one of the addresses that told of it, and what is waited for, also once it is claimed.
type decision struct {
	claim   *Place
	from    []string
	problem string
}

// decide takes one round's answers, in any order. Any of them may be behind, and that the directory is a member's may be known from a claim that is not
// committed, and never will be if the leader that has taken it is cut off. So as long as somebody knows of the invitation it is claimed, of those who do: once that is in
// force it changes nothing. Only an invitation from before the place that the directory has is not taken for a later one.
func decide(own string, answers []answer) decision {
	slices.SortFunc(answers, func(a, b answer) int { return strings.Compare(a.from, b.from) })
	var d decision
	var problems []string
	var taken, known *Place
	var cluster raft.ClusterID
	for _, a := range answers {
		if a.err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", a.from, a.err))
			continue
		}
		if cluster != 0 && a.place.Cluster != cluster {
			return decision{problem: fmt.Sprintf("--initial-cluster names members of two clusters, %s and %s: nobody can tell which was meant", cluster, a.place.Cluster)}
		}
		cluster = a.place.Cluster
		switch a.place.Standing {
		case Known:
			if known == nil || a.place.Member > known.Member {
				known = a.place
			}
		case Invited:
			switch {
			case d.claim == nil || a.place.Member > d.claim.Member: // a later invitation than one that somebody has not seen to be taken back
				d.claim, d.from = a.place, []string{a.from}
			case a.place.Member == d.claim.Member:
				d.from = append(d.from, a.from)
			}
		case Taken:
			taken = a.place
		}
	}
	if known != nil {
		d.problem = fmt.Sprintf("member %s to be told so by the others, which dial it at the address %s", known.Member, own)
	}
	switch {
	case d.claim != nil && (known == nil || d.claim.Member >= known.Member):
		return d
	case known != nil:
		return decision{problem: d.problem}
	case taken != nil:
		return decision{problem: fmt.Sprintf("the member of its address %s, %s, has been started with another data directory, and an ID is given once: "+
			"remove that member and add it anew, or start this node with that directory", own, taken.Member)}
	case cluster != 0:
		return decision{problem: fmt.Sprintf("somebody to add a member with the address %s (etcdctl member add NAME --peer-urls=URL), or this directory by its incarnation", own)}
	}
	return decision{problem: "an answer from the members: " + strings.Join(problems, "; ")}
}
