package plan

import (
	"strings"

	"github.com/raftkv/raftkv/controllers/resources"
)

// planVolumeReplacement gives up the volume of a member that has been unreachable for longer than the spec waits: its claim and its pod are
// made anew, the empty node is added, and only then does the old member go; a learner, which counts for nothing, goes first. It needs the consent
// of the spec, a template with which other nodes answer or all pods were ready once, all other voters in good health, and nothing else under way; observe damps it, since a claim that is young is never given up, nor that of a pod
// which this operator has not seen silent for as long itself.
func planVolumeReplacement(o *Observation, v *View) (Decision, bool) {
	for _, m := range v.Status.Members {
		p := podOf(o, m.Name)
		if p == nil || !p.Unreachable || p.Terminating || p.Node != nil || v.hears(m.Name) || outdated(o, p) || !o.proved(p.Revision) || o.Workload.Revision == "" && !o.Paused {
			continue
		}
		c := o.claim(p.Ordinal)
		if c == nil || p.Ordinal >= o.Desired {
			continue
		}
		for _, x := range v.Status.Members {
			if x.ID != m.ID && !x.Learner && !v.Healthy(x) {
				return Decision{Waiting: because(ReasonQuorumAtRisk,
					"member %s has been unreachable for too long, but its volume is not given up before %s is healthy", m.Name, x.Name)}, true
			}
		}
		if !v.maySuspend(m) {
			return Decision{Waiting: because(ReasonQuorumAtRisk, "member %s has been unreachable for too long, but without it there is no quorum", m.Name)}, true
		}
		return Decision{Step: ReplaceVolume{Pod: p.Name, UID: p.UID, Claim: c.Name, ClaimUID: c.UID}, Waiting: because(ReasonReplacing,
			"member %s has been unreachable for longer than spec.replacement.unreachableAfter: its claim %s is given up, and it begins anew with a new one", m.Name, c.Name)}, true
	}
	return Decision{}, false
}

// planGrowth brings the claim template to the size that the claims were asked to have, and waits until they have it.
func planGrowth(o *Observation) (Decision, bool) {
	var growing []string
	have := 0
	for _, c := range o.Claims {
		switch {
		case c.Ordinal >= o.Desired:
		case c.Small:
			return Decision{}, false // it is asked to grow, or cannot: the template stays true to what a new claim would get
		case c.Growing:
			growing = append(growing, resources.ClaimName(o.Cluster, c.Ordinal))
		default:
			have++
		}
	}
	switch {
	case o.Workload.SmallClaims && !o.Workload.Stale: // it would be made anew with a template that is held back
		return Decision{Step: RecreateWorkload{}, Waiting: because(ReasonGrowing, "the StatefulSet is made anew, without its pods, so that new claims get the size of the old ones")}, true
	case len(growing) > 0:
		return Decision{Waiting: because(ReasonGrowing, "%d of %d volumes have the size that is asked for; still growing: %s", have, have+len(growing), strings.Join(growing, ", "))}, true
	}
	return Decision{}, false
}
