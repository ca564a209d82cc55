package main

import "github.com/raftkv/raftkv/test/mutants"

func one(name, file, find, replace string) mutants.Bug {
	return mutants.Bug{Name: name, File: "controllers/plan/" + file, Edits: []mutants.Edit{{Find: find, Replace: replace}}}
}

// bugs are grouped by what they break. Rules that are not broken here have rows of tables beside the decider, which show them better: their moments are too rare for the
// simulation, such as a survivor that is about to go with its claim, or something else stands behind them, so that breaking one alone does no harm:
//
//   - a cluster rests while the StatefulSet does not keep the claims of pods that are scaled away: that is written before the step, which is refused on the base of what the
//     StatefulSet was before;
//   - members are promoted, replaced and removed without counting who is active, or leadership goes to a learner: the leader counts itself, and refuses;
//   - of a pod whose claim goes with it, which is ill and outdated, nobody asks whether the others can do without: a leader has a quorum of those that it hears, and such a
//     pod is not one of them;
//   - the volume of an outdated pod is given up: the new template comes first;
//   - members that are away count as lost: all that are silent and may hold data are waited for.
var bugs = []mutants.Bug{
	// Quorums
	one("a pod is restarted without asking whether a quorum stays", "view.go",
		"return m.Learner || v.activeVotersWithout(m.ID) >= quorum(v.Voters())", "return true"),
	one("the leader's word for who is there is believed over the members' own", "view.go",
		"v.away = away(o, v.Status)", "v.away = map[raft.NodeID]bool{}"),
	one("a learner is counted as a voter", "view.go",
		"if !m.Learner && m.ID != id && v.counted(m) {", "if m.ID != id && v.counted(m) {"),
	one("of several that say that they lead, the first is believed", "view.go",
		"if v == nil || p.Node.Term > v.Status.Term {", "if v == nil {"),
	one("a pod is forced out while its vote is needed", "doomed.go",
		"return v.Active(m) && !v.maySuspend(m) })", "return false })"),
	one("a pod is forced out while it is not known who needs its vote", "doomed.go",
		"return mayForceUnrecorded(o, p)", "return true"),
	one("a pod that is said not to run is restarted at once", "leaderless.go",
		"case !outdated(o, p) || p.Unheard || p.Node != nil ||", "case !outdated(o, p) ||"),
	one("a volume is given up while other voters are ill", "volumes.go",
		"if x.ID != m.ID && !x.Learner && !v.Healthy(x) {", "if false {"),
	one("a volume is given up for what its template does", "volumes.go",
		" || !o.proved(p.Revision) || ", " || "),

	// Rolls
	one("a roll does not wait for members that are ill", "plan.go",
		"if w := unhealthy(o, v); w != nil {", "if w := unhealthy(o, v); w != nil && false {"),
	one("a roll does not wait for a member that lags", "view.go",
		"return v.Leads(m) || (m.Active && m.CaughtUp && !v.away[m.ID])", "return v.Leads(m) || (m.Active && !v.away[m.ID])"),
	one("the leader is restarted without a hand-over", "update.go",
		"return handOver(o, v, \"its pod is to be restarted on the new template\")", "return restart(p)"),
	one("a template that made no pod ready is put back", "update.go",
		"if p := &o.Pods[i]; p.Ready && p.Revision != \"\" && outdated(o, p) {", "if p := &o.Pods[i]; p.Revision != \"\" && outdated(o, p) {"),

	// Members
	one("a pod goes before its member", "members.go",
		"if have > o.Desired && have-1 > highest {", "if have > o.Desired {"),
	one("clients are sent to a member that is removed", "members.go",
		"case !p.Forgotten:", "case false:"),
	one("a member that is wanted is removed", "members.go",
		"if !ours || ordinal < o.Desired {", "if !ours || ordinal+1 < o.Desired {"),
	one("a cluster shrinks while a member that is to stay is ill", "members.go",
		"if ill, ok := unhealthyWanted(o, v); ok && v.Healthy(last) {", "if ill, ok := unhealthyWanted(o, v); ok && false {"),
	one("a cluster shrinks to fewer voters than are asked for", "members.go",
		"v.Voters() <= o.Desired && missed", "false && missed"),
	one("a removed member's directory joins again", "observation.go",
		"return p != nil && p.Node != nil && p.Node.State == admin.StateEmpty &&", "return p != nil && p.Node != nil && p.Node.State != admin.StateMember &&"),

	// Founding
	one("who founds the cluster is decided twice", "founding.go",
		"if o.Bootstrap != nil {\n\t\treturn runBootstrap(o)\n\t}\n", ""),
	one("a cluster is founded while nodes are silent", "founding.go",
		"if p := o.pod(i); !p.empty() || p.Terminating {", "if p := o.pod(i); i == 0 && !p.empty() || p != nil && p.Node != nil && !p.empty() {"),
	one("whatever answers first is adopted", "founding.go",
		"if alive || unknown == \"\" {", "if _ = unknown; true {"),
	one("a cluster is adopted before claims without a pod are asked", "founding.go",
		"if n := unasked(o, newest); !alive && n > o.Workload.Replicas {", "if n := unasked(o, newest); false && n > 0 {"),

	// Recovery
	one("a consent to rebuild another cluster counts", "recovery.go",
		"return o.Rebuild != nil && o.Rebuild.ClusterID == o.ClusterID", "return o.Rebuild != nil"),
	one("the longest log is that of the highest index, whatever its term", "recovery.go",
		"\tif a.LastTerm != b.LastTerm {\n\t\treturn a.LastTerm > b.LastTerm\n\t}\n", ""),
	one("a cluster is rebuilt without asking all who are left", "recovery.go",
		"case silentHolder(o, i), p != nil && p.Terminating", "case p != nil && p.Terminating"),
	one("a quorum is called lost for good while one who may know better is silent", "leaderless.go",
		"if hopeless && (o.rebuildAllowed() || len(unheard(o, known)) == 0) {", "if hopeless {"),
	one("claims without a pod are not asked if no membership that is known names them", "recovery.go",
		"if c.Bound && c.Ordinal < raft.MaxVoters {", "if c.Bound && false {"),
	one("a cluster begins empty while nodes are silent", "leaderless.go",
		"\t\tdefault:\n\t\t\tsilent = append(silent, notEmpty(o, i))\n", ""),
	one("a cluster that is to begin empty takes no other template", "recovery.go",
		"return awaitEmpty(o), true", "return Decision{}, false"),
	one("a second recovery is recorded over the first", "recovery.go",
		"if r := o.Recovery; r != nil && r.From == o.ClusterID {\n\t\treturn runRecovery(o, best)\n\t}\n", ""),

	// Rest
	one("a cluster goes to rest without handing over to whom is stopped last", "hibernation.go",
		"if !v.Leads(m) {", "if false {"),
	one("a cluster goes to rest with voters that lag", "hibernation.go",
		"if m.Learner || !v.Healthy(m) || p == nil || p.Terminating {", "if m.Learner || p == nil || p.Terminating {"),
	one("all pods stop at once to rest", "hibernation.go",
		"min(have-1, 1)", "0"),
	one("a cluster is awake before it has its pods again", "plan.go",
		"o.Workload.Replicas >= o.Asleep", "o.Workload.Replicas > 0"),
	one("what keeps a cluster from resting is not told", "plan.go",
		"return Decision{Waiting: restless(o, v)}", "return Decision{}"),
}
