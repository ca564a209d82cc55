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
	one("the leader's word for who is there is believed over the members' own", "view.go",
		"v.away = away(o, v.Status)", "v.away = map[raft.NodeID]bool{}"),
	one("a pod that is said not to run is restarted at once", "leaderless.go",
		"case !outdated(o, p) || p.Unheard || p.Node != nil ||", "case !outdated(o, p) ||"),
	one("a volume is given up while other voters are ill", "volumes.go",
		"if x.ID != m.ID && !x.Learner && !v.Healthy(x) {", "if false {"),

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

	// Founding
	one("who founds the cluster is decided twice", "founding.go",
		"if o.Bootstrap != nil {\n\t\treturn runBootstrap(o)\n\t}\n", ""),

	// Recovery
	one("a consent to rebuild another cluster counts", "recovery.go",
		"return o.Rebuild != nil && o.Rebuild.ClusterID == o.ClusterID", "return o.Rebuild != nil"),
	one("a second recovery is recorded over the first", "recovery.go",
		"if r := o.Recovery; r != nil && r.From == o.ClusterID {\n\t\treturn runRecovery(o, best)\n\t}\n", ""),
}
