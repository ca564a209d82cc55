package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// report writes the status, if it changed. Nothing else writes it; the resource version of the object that was observed
// keeps an old observation from overwriting a new one. It gives after how long what it did not write yet has to be written; zero if there is nothing.
func (r *Reconciler) report(ctx context.Context, s *snapshot, d *plan.Decision, before *v1.RaftClusterStatus, result outcome) (time.Duration, error) {
	status := &s.cluster.Status
	describe(s, d, status)
	if s.unasked && before.Leader != nil && (status.Leader == nil || d.View == nil) {
		return afterStep, nil // the leader may be one that has not been heard yet, as when an operator begins: that is no news of the cluster
	}
	key, observed := client.ObjectKeyFromObject(s.cluster), s.cluster.ResourceVersion
	last := r.lastReport(key)
	defer func() { r.reports.Store(key, last) }()
	old := slices.Contains(last.past, observed)
	if !old && s.depth != live {
		last.past = nil // the watch has caught up
	}
	if result == done {
		last.stepped = r.now()
	}
	if s.depth != cached {
		last.news = s.news
	}
	if s.applied {
		last.applied = s.cluster.Generation
	}
	if equality.Semantic.DeepEqual(before, status) {
		measure(s.cluster, before, status)
		last.silent = time.Time{}
		return 0, nil
	}
	if last.silent.IsZero() {
		last.silent = r.now()
	}
	if left := silence(before, status, r.now().Sub(s.cluster.CreationTimestamp.Time)) - r.now().Sub(last.silent); left > 0 {
		return left, nil
	}
	if old {
		return 0, unread(s.cluster)
	}
	if err := r.writeStatus(ctx, s.cluster, before); err != nil {
		return 0, err
	}
	last.silent = time.Time{}
	last.wrote(s.cluster, observed)
	return 0, nil
}

// unread is for a status that was read before what this operator wrote last: a conflict, which the next look answers.
func unread(c *v1.RaftCluster) error {
	return apierrors.NewConflict(v1.GroupVersion.WithResource("raftclusters").GroupResource(), c.Name, errors.New("the watch has not brought the status that was written last"))
}

// reportSigns writes who leads and who is healthy as soon as that is known, where nodes are asked anew before the rest of the status is: one that was cut off a moment ago is
// waited for then, and nobody is to hear of the new leader that late. It is for clusters that were complete once, and only for what their leader says, and what its stream is there to say.
// Without news the streams say nothing that was not known when the nodes were asked last; they may say less, since that of a leader that is cut off goes on to say for half a minute that it leads.
// On a conflict nothing is waited for: the next look comes at once.
func (r *Reconciler) reportSigns(ctx context.Context, s *snapshot, d *plan.Decision) error {
	status, o := &s.cluster.Status, &s.observation
	key, observed := client.ObjectKeyFromObject(s.cluster), s.cluster.ResourceVersion
	last := r.lastReport(key)
	if status.GoodRevision == "" || d.View == nil || s.unasked || s.news == last.news {
		return nil
	}
	before := status.DeepCopy()
	now := status.DeepCopy()
	now.Leader = leader(o, d.View)
	now.Members = members(o, d.View, now)
	keepUnstreamed(d.View, before.Members, now.Members)
	if mayWait(before, now) {
		return nil
	}
	if slices.Contains(last.past, observed) {
		return unread(s.cluster)
	}
	for _, c := range []metav1.Condition{available(d, now), degraded(o, d, now)} {
		c.ObservedGeneration = status.ObservedGeneration // nothing else of the spec has been looked at
		meta.SetStatusCondition(&now.Conditions, c)
	}
	s.cluster.Status = *now
	if err := r.writeStatus(ctx, s.cluster, before); err != nil {
		return err
	}
	last.wrote(s.cluster, observed)
	r.reports.Store(key, last)
	return nil
}

// keepUnstreamed leaves to the nodes' own answers what streams do not tell of: that a voter has caught up is no news, so that a leader's stream may go on for minutes to say that one which
// has just come back, or that a leader which has just been elected had not heard yet, is behind. Nor does the stream of a node that is cut off end at once, so that the version stays, too.
func keepUnstreamed(v *plan.View, before, now []v1.MemberStatus) {
	for i, m := range v.Status.Members {
		was := slices.IndexFunc(before, func(x v1.MemberStatus) bool { return x.ID == now[i].ID && x.Role != resources.RoleLearner })
		if was < 0 {
			continue
		}
		now[i].Version = before[was].Version
		m.CaughtUp = true
		if !v.Leads(m) && v.Healthy(m) {
			now[i].Healthy = before[was].Healthy
		}
	}
}

// writeStatus writes the status of a RaftCluster, and measures and tells what has changed in it.
func (r *Reconciler) writeStatus(ctx context.Context, c *v1.RaftCluster, before *v1.RaftClusterStatus) error {
	if err := r.Client.Status().Update(ctx, c); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	measure(c, before, &c.Status)
	r.changeEvents(c, before, &c.Status)
	return nil
}

const (
	// maxSilence bounds how long the status is behind with what may wait; maxSilenceBefore is for a cluster that is on its way to be complete for the first time: what is
	// said of its pods and members, which come one by one, changes with each. Of one that has been on its way for long it is the part oneOf of that time, up to
	// whileStalled, as is the pause between two looks.
	maxSilence       = 500 * time.Millisecond
	maxSilenceBefore = 3 * time.Second
	// maxPast bounds the versions of a RaftCluster that are known to be past.
	maxPast = 8
)

// silence is how long a change of the status of a cluster of that age may go unsaid.
func silence(before, now *v1.RaftClusterStatus, age time.Duration) time.Duration {
	switch {
	case !mayWait(before, now):
		return 0
	case now.GoodRevision == "":
		return min(max(age/oneOf, maxSilenceBefore), whileStalled)
	}
	return maxSilence
}

// reported is what is remembered of the last reports about a cluster.
type reported struct {
	// past are the versions of the RaftCluster that writes were based on, until the watch has brought what came of them: who is shown one again looks at the past, and
	// the API server would refuse what it writes. There may be several, since some looks are live, before the watch has caught up.
	past []string
	// silent is since when there has been something to write that waits; zero if there is nothing.
	silent time.Time
	// applied is the last generation of the RaftCluster of which the StatefulSet has had the template since this operator runs; zero if none. That of the status is a promise
	// only: what is refused or held back at first is applied later.
	applied int64
	// stepped is when the last step was taken.
	stepped time.Time
	// news is closed once a node has said something new since all were asked last.
	news <-chan struct{}
}

// wrote takes note of a write that was based on that version. One that changed nothing leaves it the present one.
func (last *reported) wrote(c *v1.RaftCluster, observed string) {
	if c.ResourceVersion != observed {
		last.past = append(last.past[max(0, len(last.past)-maxPast+1):], observed)
	}
}

func (r *Reconciler) lastReport(key client.ObjectKey) reported {
	last, _ := r.reports.Load(key)
	known, _ := last.(reported)
	return known
}

// mayWait tells that a status differs from the one before in nothing but what the next look would mostly overwrite: what is being done or waited for, how many pods
// there are and are ready, which version they run, and who learns. Leadership, health, votes, the truth of each condition, why it is Stalled, and all that is on record are written at once.
func mayWait(before, now *v1.RaftClusterStatus) bool {
	a, b := before.DeepCopy(), now.DeepCopy()
	for _, s := range []*v1.RaftClusterStatus{a, b} {
		s.Replicas, s.ReadyReplicas, s.Version = 0, 0, ""
		s.Members = slices.DeleteFunc(s.Members, func(m v1.MemberStatus) bool { return m.Role == resources.RoleLearner })
		for i := range s.Conditions {
			if c := &s.Conditions[i]; c.Type != v1.ConditionStalled {
				c.Reason, c.Message = "", ""
			}
		}
	}
	return equality.Semantic.DeepEqual(a, b)
}

// describe brings the status to what was seen and decided.
func describe(s *snapshot, d *plan.Decision, status *v1.RaftClusterStatus) {
	o := &s.observation
	status.ObservedGeneration = s.cluster.Generation
	if d.Adopt != 0 {
		status.ClusterID = d.Adopt.String()
	}
	if d.ForgetRecovery {
		status.Recovery = nil
	}
	if d.Awake {
		status.Hibernation = nil
	}
	if d.Good != "" {
		status.GoodRevision = d.Good
	}
	if recordsImage(s, d) {
		status.Image = s.image
	}
	status.Replicas = int32(len(s.pods))
	status.ReadyReplicas = 0
	for _, p := range o.Pods {
		if p.Ready {
			status.ReadyReplicas++
		}
	}
	status.Selector = labels.SelectorFromSet(resources.SelectorLabels(s.cluster.Name)).String()
	status.Leader = leader(o, d.View)
	status.Members = members(o, d.View, status)
	status.Version = version(o, status.Version)
	for _, c := range conditions(s, d, status) {
		c.ObservedGeneration = s.cluster.Generation
		meta.SetStatusCondition(&status.Conditions, c)
	}
}

// recordsImage tells that the image is one to go back to when the spec names none any more: all pods are ready with it, or the operator has chosen it for
// a new cluster. One that the spec names is none before that, or who took a bad one out of the spec would keep it.
func recordsImage(s *snapshot, d *plan.Decision) bool {
	switch {
	case s.blocked():
		return false
	case s.cluster.Spec.Image == "" && s.cluster.Status.Image == "":
		return true
	}
	return d.Good != ""
}

// leader is the one that says so itself, or the one that members in contact with it name.
func leader(o *plan.Observation, v *plan.View) *v1.LeaderStatus {
	said := (*admin.Status)(nil)
	if v != nil {
		said = v.Status
	}
	for i := range o.Pods {
		n := o.Pods[i].Node
		if n == nil || n.State != admin.StateMember || n.ClusterID != o.ClusterID || !n.Ready || n.Leader == 0 {
			continue
		}
		if said == nil || n.Term > said.Term {
			said = n
		}
	}
	if said == nil || o.ClusterID == 0 {
		return nil
	}
	for _, m := range said.Members {
		if m.ID == said.Leader {
			return &v1.LeaderStatus{Name: m.Name, ID: m.ID.String(), Term: strconv.FormatUint(uint64(said.Term), 10)}
		}
	}
	return nil
}

// members is the leader's list. Without a leader the list stays, and healthy are those whose nodes are ready.
func members(o *plan.Observation, v *plan.View, status *v1.RaftClusterStatus) []v1.MemberStatus {
	byIncarnation := map[raft.Incarnation]*admin.Status{}
	byName := map[string]*admin.Status{}
	for i := range o.Pods {
		if n := o.Pods[i].Node; n != nil {
			byIncarnation[n.Incarnation] = n
			byName[o.Pods[i].Name] = n
		}
	}
	var out []v1.MemberStatus
	if v == nil {
		for _, m := range status.Members {
			n := byName[m.Name]
			m.Healthy = n != nil && n.MemberID.String() == m.ID && n.Ready
			m.Role = roleOf(m.Role == resources.RoleLearner, status.Leader != nil && status.Leader.ID == m.ID)
			out = append(out, m)
		}
		return out
	}
	for _, m := range v.Status.Members {
		x := v1.MemberStatus{Name: m.Name, ID: m.ID.String(), Healthy: v.Healthy(m), Role: roleOf(m.Learner, v.Leads(m))}
		if n := byIncarnation[m.Incarnation]; n != nil {
			x.Version = n.Version
		}
		out = append(out, x)
	}
	return out
}

func roleOf(learner, leads bool) string {
	switch {
	case leads:
		return resources.RoleLeader
	case learner:
		return resources.RoleLearner
	}
	return resources.RoleFollower
}

// version is the one that all nodes run; while they differ, or none answers, the one before.
func version(o *plan.Observation, before string) string {
	v := ""
	for i := range o.Pods {
		n := o.Pods[i].Node
		switch {
		case n == nil:
		case v == "":
			v = n.Version
		case v != n.Version:
			return before
		}
	}
	if v == "" {
		return before
	}
	return v
}

// lostQuorum is what the status says of a quorum that is out of reach, for now or for good; empty if there is one.
func lostQuorum(status *v1.RaftClusterStatus) string {
	c := meta.FindStatusCondition(status.Conditions, v1.ConditionAvailable)
	if c == nil || c.Status != metav1.ConditionFalse {
		return ""
	}
	switch c.Reason {
	case plan.ReasonQuorumUnreachable, plan.ReasonQuorumLost, plan.ReasonNoMemberLeft:
		return c.Message
	}
	return ""
}

// changeEvents tells of what happened by itself, as the status shows it.
func (r *Reconciler) changeEvents(c *v1.RaftCluster, before, now *v1.RaftClusterStatus) {
	switch was, is := before.Leader, now.Leader; {
	case is == nil && was != nil && now.Hibernation == nil:
		r.Recorder.Eventf(c, nil, corev1.EventTypeWarning, "LeaderLost", "observe", "%s led and does no more; the members elect another leader", was.Name)
	case is != nil && (was == nil || was.ID != is.ID):
		r.Recorder.Eventf(c, nil, corev1.EventTypeNormal, "LeaderElected", "observe", "%s leads in term %s", is.Name, is.Term)
	}
	if before.ClusterID == "" && now.ClusterID != "" && now.Bootstrap == nil {
		r.Recorder.Eventf(c, nil, corev1.EventTypeNormal, "DataAdopted", "observe", "the claims hold the data of cluster %s, which goes on", now.ClusterID)
	}
	if reason := lostQuorum(now); reason != "" && lostQuorum(before) == "" {
		r.Recorder.Eventf(c, nil, corev1.EventTypeWarning, "QuorumLost", "observe", "%s", reason)
	}
	if before.ClusterID != "" && now.ClusterID != before.ClusterID {
		r.Recorder.Eventf(c, nil, corev1.EventTypeWarning, "ClusterRebuilt", "observe",
			"cluster %s was lost and goes on as %s; what only lost members held is lost; take spec.recovery away", before.ClusterID, now.ClusterID)
	}
	switch was, is := meta.IsStatusConditionTrue(before.Conditions, v1.ConditionHibernated), meta.IsStatusConditionTrue(now.Conditions, v1.ConditionHibernated); {
	case is && !was:
		r.Recorder.Eventf(c, nil, corev1.EventTypeNormal, "Hibernated", "observe", "all pods are stopped; membership and volumes are kept")
	case was && !is:
		r.Recorder.Eventf(c, nil, corev1.EventTypeNormal, "Resumed", "observe", "the cluster's pods are started again")
	}
	if n := desiredReplicas(c); n%2 == 0 && n != before.Replicas && before.ObservedGeneration != now.ObservedGeneration {
		r.Recorder.Eventf(c, nil, corev1.EventTypeWarning, "EvenReplicas", "observe",
			"%d members bear the loss of %d, as %d would, and each write waits for more of them: ask for an odd number", n, (n-1)/2, n-1)
	}
	was := meta.FindStatusCondition(before.Conditions, v1.ConditionStalled)
	is := meta.FindStatusCondition(now.Conditions, v1.ConditionStalled)
	if is != nil && is.Status == metav1.ConditionTrue && (was == nil || was.Status != is.Status || was.Reason != is.Reason) {
		r.Recorder.Eventf(c, nil, corev1.EventTypeWarning, "Stalled"+is.Reason, "observe", "%s", is.Message)
	}
}
