package cluster

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/controllers/resources"
)

// OfPod is the RaftCluster that a pod of this name belongs to.
func OfPod(pod string) (name string, ok bool) {
	dash := strings.LastIndexByte(pod, '-')
	if dash < 1 {
		return "", false
	}
	ordinal, err := strconv.Atoi(pod[dash+1:])
	if err != nil || resources.PodName(pod[:dash], ordinal) != pod {
		return "", false
	}
	return pod[:dash], true
}

// MayReplace says why the member's data must not be given up now; nil if it may: each other voter answers, is ready and caught up in the leader's
// eyes, so that a quorum has everything without that member.
func MayReplace(o *Observation, member string) error {
	leader := o.Leader()
	if leader == nil {
		return fmt.Errorf("nobody leads %s: the data of %s may be needed. Bring the members back first: the command doctor says how", o.Cluster.Name, member)
	}
	if !leader.ConfigCommitted {
		return fmt.Errorf("a change of the members of %s is under way: try again when it is complete", o.Cluster.Name)
	}
	voters, found := 0, false
	for _, m := range leader.Members {
		if m.Name == member {
			found = true
		}
		if m.Learner {
			continue
		}
		voters++
		if m.Name == member {
			continue
		}
		pod := o.Pod(m.Name)
		switch {
		case pod == nil || pod.Node == nil || pod.Node.MemberID != m.ID || !pod.Node.Ready:
			return fmt.Errorf("member %s is not well: with the data of %s gone too, writes could be lost. Bring %s back first", m.Name, member, m.Name)
		case m.ID != leader.MemberID && (!m.Active || !m.CaughtUp):
			return fmt.Errorf("member %s is not caught up with the leader: wait until it is, then try again", m.Name)
		}
	}
	switch {
	case !found && o.Pod(member) == nil:
		return missing(member + " is not a member of " + o.Cluster.Name)
	case voters < 2:
		return fmt.Errorf("%s is the only member of %s: its volume is the only copy of the data", member, o.Cluster.Name)
	case voters == 2:
		return fmt.Errorf("%s has two members: without %s there is no quorum to replace it. Grow the cluster to three first", o.Cluster.Name, member)
	}
	return nil
}
