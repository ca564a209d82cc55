package plan

import (
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/server/admin"
)

// outdated tells that the pod was made from an older template than the one that is wanted, and does not go already.
func outdated(o *Observation, p *Pod) bool {
	return !o.Paused && o.Workload.Revision != "" && p.Revision != o.Workload.Revision && !p.Terminating
}

// proven is the revision with which all is as the spec asks and all pods are ready.
func proven(o *Observation, d Decision) string {
	if d.Step != nil || d.Waiting != nil || d.Stalled != nil || o.Workload == nil || o.Workload.Replicas != o.Desired || len(o.Pods) != o.Desired {
		return ""
	}
	for i := range o.Pods {
		if p := &o.Pods[i]; !p.Ready || p.Terminating || p.Revision != o.Workload.Revision {
			return ""
		}
	}
	return o.Workload.Revision
}

// failedUpdate finds a pod that the new template does not make ready in time, while others are still on an older one, or all were ready with an
// older one and none is with this: no further pod gets it, and the last good one is put back into the StatefulSet, since any pod that dies comes
// back with what that holds. The pod itself is left as it is, for people to look at. A pod that is made ready by the template's being put back in
// the spec is restarted at once, since it is outdated then. Without a leader (v is nil) no pod is ready: then only a pod that does not even answer
// tells of its template.
func failedUpdate(o *Observation, v *View) (Decision, bool) {
	if o.Paused {
		return Decision{}, false
	}
	if o.failed() {
		return Decision{Stalled: updateFailed(o, v, o.Workload.Failed, true)}, true
	}
	if o.Workload.Revision == "" {
		return Decision{}, false
	}
	late, waiting := false, false
	for i := range o.Pods {
		p := &o.Pods[i]
		switch {
		case outdated(o, p):
			waiting = true // one that is to be removed, too: until then it shows that the older template was good
		case p.Ordinal >= o.Desired:
		case p.Late && !p.Ready && !p.Terminating && suspect(v, p):
			late = true
		}
	}
	if !late || !waiting && (o.Good == "" || o.Good == o.Workload.Revision || o.readyWith(o.Workload.Revision)) {
		return Decision{}, false
	}
	good := lastGood(o)
	d := Decision{Stalled: updateFailed(o, v, o.Workload.Revision, good != "")}
	if good != "" {
		d.Step = PutBack{Revision: good, Failed: o.Workload.Revision}
	}
	return d, true
}

// suspect tells that the pod's template may be why it is not ready: its node does not answer, or it is a voter. An empty node waits until it is added, and a learner
// receives what it lacks: how long that takes says nothing of a template. Nor does it that a node which runs did not answer just now.
func suspect(v *View, p *Pod) bool {
	if p.Node == nil && (p.Silent || !p.Running) {
		return true
	}
	if v == nil {
		return false
	}
	_, voter := voterOf(v, p)
	return voter
}

// failed tells that the template which the spec asks for was taken out of the StatefulSet, and that no pod has become ready with it since.
func (o *Observation) failed() bool {
	return o.Workload != nil && o.Workload.Failed != "" && !o.readyWith(o.Workload.Failed)
}

func (o *Observation) readyWith(revision string) bool {
	return slices.ContainsFunc(o.Pods, func(p Pod) bool { return p.Revision == revision && p.Ready })
}

// proved tells that a pod's template is not what keeps its node from answering: another one answers with it, or all were ready with it once.
func (o *Observation) proved(revision string) bool {
	return revision != "" && (revision == o.Good || slices.ContainsFunc(o.Pods, func(p Pod) bool { return p.Revision == revision && (p.Ready || p.Node != nil) }))
}

// lastGood is the revision to go back to: that of the ready pod which the update would have reached last, which Kubernetes keeps as long as a pod has it, or
// that with which all pods were last ready, if it is still kept. There is none where the new template has made a pod ready: then it is good, too, and the trouble is another
// pod's own.
func lastGood(o *Observation) string {
	if o.readyWith(o.Workload.Revision) {
		return ""
	}
	for i := range o.Pods {
		if p := &o.Pods[i]; p.Ready && p.Revision != "" && outdated(o, p) {
			return p.Revision
		}
	}
	if o.Good == o.Workload.Revision || o.GoodGone {
		return ""
	}
	return o.Good
}

// updateFailed says which pod the template of that revision did not make ready, and what happens to the others.
func updateFailed(o *Observation, v *View, revision string, putBack bool) *Reason {
	var late *Pod
	waiting := 0
	for i := range o.Pods {
		p := &o.Pods[i]
		switch {
		case p.Ordinal >= o.Desired:
		case p.Revision != revision:
			waiting++
		case !p.Ready && (late == nil || !suspect(v, late)):
			late = p
		}
	}
	leads := "no member leads"
	if v != nil {
		leads = v.Leader + " leads"
	} else if name := followed(o); name != "" {
		leads = name + " leads"
	}
	if late == nil {
		return because(ReasonUpdateFailed,
			"the template that the spec asks for made no pod ready in time, so that pods that die come back with the last good one, and %s; correct the spec or put it back, or change something in podTemplate, such as an annotation, to try once more", leads)
	}
	why := notReady(late)
	if !late.Running && late.Trouble != "" {
		why = ": " + late.Trouble
	}
	others := ""
	switch {
	case waiting > 0 && putBack:
		others = fmt.Sprintf("the %d pods that are still on an older one are left alone and come back with the last good template if they die, ", waiting)
	case waiting > 0:
		others = fmt.Sprintf("the %d pods that are still on an older one are left alone, ", waiting)
	case putBack:
		others = "pods that are deleted come back with the last good template, "
	case o.GoodGone:
		others = "the last good template is not kept any more, so that pods that are deleted come back with this one, "
	}
	return because(ReasonUpdateFailed,
		"pod %s has the new template and did not become ready in time%s; %sand %s; correct the spec or put it back, and the pod is restarted at once",
		late.Name, why, others, leads)
}

// restartBroken brings the new template first to pods that are not healthy on the old one: it may be what cures them.
// Those whose absence costs the quorum stay, but for one of two that lacks nothing, as in any roll: it may never be ready with the old template. So does
// one that is not heard by a leader which hears no quorum: that is about to step down, and the next one may be elected by this vote.
func restartBroken(o *Observation, v *View) *Restart {
	for i := len(o.Pods) - 1; i >= 0; i-- {
		p := &o.Pods[i]
		if !outdated(o, p) || p.Name == v.Leader {
			continue
		}
		m, voter := voterOf(v, p)
		switch {
		case !mayEnd(o, v, p):
		case !p.Running && !(voter && v.Active(m)):
			return &Restart{Pod: p.Name, UID: p.UID}
		case !voter:
			return &Restart{Pod: p.Name, UID: p.UID, Evict: true}
		case p.Ready && v.Healthy(m):
		case v.maySuspend(m), v.Voters() == 2 && v.Healthy(m) && v.activeVotersWithout(m.ID) == 1:
			return &Restart{Pod: p.Name, UID: p.UID, Evict: true}
		}
	}
	return nil
}

// voterOf returns the voter that the pod is, or may be if its node does not answer.
func voterOf(v *View, p *Pod) (admin.MemberStatus, bool) {
	if p.Node != nil {
		m, ok := v.bound(p)
		return m, ok && !m.Learner
	}
	for _, m := range v.of(p.Name) {
		if !m.Learner {
			return m, true
		}
	}
	return admin.MemberStatus{}, false
}

// planUpdate restarts outdated pods of a cluster in which all is well: followers first, from the highest ordinal down, the
// leader last and only once it leads no more.
func planUpdate(o *Observation, v *View) Decision {
	for i := len(o.Pods) - 1; i >= 0; i-- {
		p := &o.Pods[i]
		if !outdated(o, p) || p.Name == v.Leader {
			continue
		}
		m, ok := v.bound(p)
		if p.Node == nil {
			return Decision{Waiting: because(ReasonMemberNotReady, "pod %s is to be restarted as soon as its node answers the operator again: %s", p.Name, p.NodeError)}
		}
		if !ok || !suspendable(v, m) {
			return Decision{Waiting: because(ReasonQuorumAtRisk, "pod %s is to be restarted, but that would leave no active quorum", p.Name)}
		}
		return restart(p)
	}
	p := leaderPod(o, v)
	switch {
	case !o.Paused && o.Workload.Revision == "":
		return Decision{Waiting: unsettled(o)}
	case p == nil || !outdated(o, p):
		return Decision{}
	case v.Voters() == 1:
		return restart(p)
	}
	return handOver(o, v, "its pod is to be restarted on the new template")
}

// unsettled says what the StatefulSet is still to take in before pods can be compared with its template.
func unsettled(o *Observation) *Reason {
	if w := leftover(o); w != nil {
		return w
	}
	if o.Workload.Stale {
		return because(ReasonUpdating, "the pods' new template is being written to the StatefulSet")
	}
	return because(ReasonUpdating, "Kubernetes' StatefulSet controller has yet to take in the latest change")
}

// replaceBrokenLeader moves the leadership off an outdated pod that is not ready although it leads: nothing else would
// ever make it ready. One that is no better off does not get it, and would only hand it back.
func replaceBrokenLeader(o *Observation, v *View) (Decision, bool) {
	p := leaderPod(o, v)
	if p == nil || p.Ready || !outdated(o, p) {
		return Decision{}, false
	}
	if v.Voters() == 1 {
		return restart(p), true
	}
	return handOverTo(o, v, "its pod is not ready and has an old template", func(p *Pod) bool {
		return p.Ordinal < o.Desired && (p.Ready || !outdated(o, p))
	}), true
}

// suspendable allows, besides what keeps a quorum, to restart one of two voters: with two there is no other way.
func suspendable(v *View, m admin.MemberStatus) bool {
	return v.maySuspend(m) || v.Voters() == 2
}

func restart(p *Pod) Decision {
	return Decision{Step: Restart{Pod: p.Name, UID: p.UID, Evict: true},
		Waiting: because(ReasonUpdating, "restarting pod %s on the new template", p.Name)}
}

func leaderPod(o *Observation, v *View) *Pod {
	ordinal, ok := resources.Ordinal(o.Cluster, v.Leader)
	if !ok {
		return nil
	}
	return o.pod(ordinal)
}
