package doctor

import (
	"fmt"
	"slices"
	"time"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/server/admin"
)

// Severity orders findings.
type Severity string

// The severities, the worst first.
const (
	// Critical: writes are refused, or data is in danger.
	Critical Severity = "critical"
	// Warning: something does not work as it should, and the cluster serves on.
	Warning Severity = "warning"
	// Remark: nothing is wrong, and it is worth knowing.
	Remark Severity = "remark"
)

var ranks = map[Severity]int{Critical: 0, Warning: 1, Remark: 2}

// Finding is one thing that was found.
type Finding struct {
	Severity Severity `json:"severity"`
	// Subject is what it is about: the cluster, or a pod, member or claim.
	Subject string `json:"subject"`
	// Problem says what is wrong, Advice what to do, a step each.
	Problem string   `json:"problem"`
	Advice  []string `json:"advice,omitempty"`
}

// Context is what advice depends on besides the observation.
type Context struct {
	// Program is how raftctl was called: raftctl, or kubectl raftkv.
	Program string
	// Where is the flags, of raftctl and kubectl alike, that name the Kubernetes which was looked at, each with a blank before it; empty for the usual one. Some
	// advice deletes, and must not be followed in another.
	Where string
	Now   time.Time
}

// patient collects findings about one cluster.
type patient struct {
	*cluster.Observation
	Context
	name, namespace string
	leader          *admin.Status
	findings        []Finding
}

// Diagnose looks at the cluster from all sides. Findings are sorted by severity and keep their order otherwise: from the cluster as a whole to its parts.
func Diagnose(o *cluster.Observation, in Context) []Finding {
	p := &patient{Observation: o, Context: in, name: o.Cluster.Name, namespace: o.Cluster.Namespace, leader: o.Leader()}
	p.operator()
	if p.resting() {
		p.conditions()
	} else {
		p.conditions()
		p.quorum()
		p.pods()
		p.members()
		p.alarms()
		p.stability()
		p.placement()
		p.shape()
	}
	p.claims()
	for _, u := range o.Unknown {
		p.add(Remark, p.name, "could not be found out: "+u)
	}
	slices.SortStableFunc(p.findings, func(a, b Finding) int { return ranks[a.Severity] - ranks[b.Severity] })
	return p.findings
}

// Healthy tells whether nothing is wrong: there are remarks at most.
func Healthy(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity != Remark })
}

func (p *patient) add(s Severity, subject, problem string, advice ...string) {
	p.findings = append(p.findings, Finding{Severity: s, Subject: subject, Problem: problem, Advice: advice})
}

// raftctl is a command of this program, as it is typed for this cluster.
func (p *patient) raftctl(command string, arguments ...any) string {
	return fmt.Sprintf("%s%s -n %s %s", p.Program, p.Where, p.namespace, fmt.Sprintf(command, arguments...))
}

// saveSnapshot is the command that saves the state of a member, or of any if it is empty, in the time that a large store takes. Where nobody leads, nobody knows
// what was acknowledged.
func (p *patient) saveSnapshot(member string) string {
	flags := ""
	if p.leader == nil {
		flags += " --serializable"
	}
	if member != "" {
		flags += " --from " + member
	}
	return p.raftctl("snapshot save --cluster %s --timeout 10m%s FILE", p.name, flags)
}

// kubectl is a command of kubectl, as it is typed for this cluster.
func (p *patient) kubectl(command string, arguments ...any) string {
	return fmt.Sprintf("kubectl%s -n %s %s", p.Where, p.namespace, fmt.Sprintf(command, arguments...))
}

// kubectlAnywhere is a command of kubectl on what is in no namespace, or in all.
func (p *patient) kubectlAnywhere(command string, arguments ...any) string {
	return fmt.Sprintf("kubectl%s %s", p.Where, fmt.Sprintf(command, arguments...))
}

func (p *patient) operatorPods() string {
	return p.kubectlAnywhere("get pods --all-namespaces -l app.kubernetes.io/name=raftkv-operator")
}
