package main

import "github.com/raftkv/raftkv/test/mutants"

func one(name, file, find, replace string) mutants.Bug {
	return mutants.Bug{Name: name, File: "controllers/plan/" + file, Edits: []mutants.Edit{{Find: find, Replace: replace}}}
}

// bugs are grouped by what they break.
var bugs = []mutants.Bug{
	// Quorums
	one("a pod is restarted without asking whether a quorum stays", "view.go",
		"return m.Learner || v.activeVotersWithout(m.ID) >= quorum(v.Voters())", "return true"),
	one("a learner is counted as a voter", "view.go",
		"if !m.Learner && m.ID != id && v.counted(m) {", "if m.ID != id && v.counted(m) {"),
	one("the leader's word for who is there is believed over the members' own", "view.go",
		"v.away = away(o, v.Status)", "v.away = map[raft.NodeID]bool{}"),
	one("of several that say that they lead, the first is believed", "view.go",
		"if v == nil || p.Node.Term > v.Status.Term {", "if v == nil {"),
	one("a volume is given up whatever becomes of the quorum", "volumes.go",
		"if x.ID != m.ID && !x.Learner && !v.Healthy(x) {", "if false {"),
	one("a pod ends although its claim goes with it", "doomed.go",
		"if !v.maySuspend(m) {\n\t\t\treturn false", "if !v.maySuspend(m) {\n\t\t\treturn true"),
	one("a pod that is said not to run is restarted at once", "leaderless.go",
		"case !outdated(o, p) || p.Unheard || p.Node != nil ||", "case !outdated(o, p) ||"),

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
	one("a removed member's directory joins again", "observation.go",
		"return p != nil && p.Node != nil && p.Node.State == admin.StateEmpty &&", "return p != nil && p.Node != nil && p.Node.State != admin.StateMember &&"),
	one("a member that is wanted is removed", "members.go",
		"if !ours || ordinal < o.Desired {", "if !ours || ordinal+1 < o.Desired {"),

	// Founding
	one("a cluster is founded while nodes are silent", "founding.go",
		"if p := o.pod(i); !p.empty() || p.Terminating {", "if p := o.pod(i); i == 0 && !p.empty() || p != nil && p.Node != nil && !p.empty() {"),
	one("who founds the cluster is decided twice", "founding.go",
		"if o.Bootstrap != nil {\n\t\treturn runBootstrap(o)\n\t}\n", ""),
	one("whatever answers first is adopted", "founding.go",
		"if lives(o, id) || unknown == \"\" {", "if _ = unknown; true {"),

	// Recovery
	one("a consent to rebuild another cluster counts", "recovery.go",
		"return o.Rebuild != nil && o.Rebuild.ClusterID == o.ClusterID", "return o.Rebuild != nil"),
	one("the longest log is that of the highest index, whatever its term", "recovery.go",
		"\tif a.LastTerm != b.LastTerm {\n\t\treturn a.LastTerm > b.LastTerm\n\t}\n", ""),
	one("a cluster is rebuilt without asking all who are left", "recovery.go",
		"\t\t\tif c != nil && c.Bound && !c.Lost {\n\t\t\t\tmissed = append(missed, notEmpty(o, i))\n\t\t\t}\n", "\t\t\t_ = c\n"),
	one("members that are away count as lost", "recovery.go",
		"votes[x.ID] = !gone(o, x.Member) && (!answers || ", "votes[x.ID] = answers && ("),
	one("a second recovery is recorded over the first", "recovery.go",
		"if r := o.Recovery; r != nil && r.From == o.ClusterID {\n\t\treturn runRecovery(o, best)\n\t}\n", ""),

	// Rest
	one("a cluster goes to rest without handing over to whom is stopped last", "hibernation.go",
		"if !v.Leads(m) {", "if false {"),
	one("a cluster goes to rest while its claims would go", "hibernation.go",
		"\tcase !o.Workload.KeepsClaims:\n\t\treturn keepClaims()\n\t}\n\tlast :=", "\t}\n\tlast :="),
	one("a cluster goes to rest with voters that lag", "hibernation.go",
		"if m.Learner || !v.Healthy(m) || p == nil || p.Terminating {", "if m.Learner || p == nil || p.Terminating {"),
	one("a cluster is awake before it has its pods again", "plan.go",
		"o.Workload.Replicas >= o.Asleep", "o.Workload.Replicas > 0"),
}
