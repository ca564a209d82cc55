package doctor

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
)

// placement looks for machines whose loss would cost the quorum.
func (p *patient) placement() {
	var machines []string
	on := map[string][]string{}
	for i := range p.Pods {
		if m := p.Pods[i].Spec.NodeName; m != "" {
			if on[m] == nil {
				machines = append(machines, m)
			}
			on[m] = append(on[m], p.Pods[i].Name)
		}
	}
	n := p.Desired()
	for _, m := range machines {
		if n >= 3 && n-len(on[m]) < n/2+1 {
			p.add(Warning, p.name, fmt.Sprintf("%s are on one machine, %s: if it fails, there is no quorum", strings.Join(on[m], ", "), m),
				"give Kubernetes more machines that may take the pods, and move one: "+p.kubectl("delete pod %s", on[m][len(on[m])-1]))
		}
	}
}

// shape speaks of the number of members that was chosen.
func (p *patient) shape() {
	switch n := p.Desired(); {
	case n == 1:
		p.add(Remark, p.name, "it has one member: if that fails, nothing is served, and its volume is the only copy of the data",
			"three members outlive the loss of one: "+p.kubectl("scale raftcluster %s --replicas 3", p.name))
	case n%2 == 0:
		p.add(Remark, p.name, fmt.Sprintf("%d members outlive the loss of no more than %d do", n, n-1), "an odd number costs less: "+p.kubectl("scale raftcluster %s --replicas %d", p.name, n-1))
	}
}

// claims looks at the volumes.
func (p *patient) claims() {
	for ordinal := range p.Desired() {
		c := p.Claim(ordinal)
		if c == nil {
			continue
		}
		replace := p.raftctl("replace %s --delete-volume", resources.PodName(p.name, ordinal))
		switch {
		case c.Status.Phase == corev1.ClaimLost:
			p.add(Warning, "claim "+c.Name, "its volume is gone", "if the volume cannot be brought back, let the member begin anew: "+replace)
		case c.DeletionTimestamp != nil:
			advice := "the operator replaces the member by itself once all others are well: leave pod " + resources.PodName(p.name, ordinal) + " alone until then"
			if p.stalledBecause(plan.ReasonClaimDeleted) {
				advice = "do not end pod " + resources.PodName(p.name, ordinal) + ": the other members cannot do without what it holds. Save a snapshot first: " + p.saveSnapshot(resources.PodName(p.name, ordinal))
			}
			p.add(Warning, "claim "+c.Name, "is deleted and goes, with the data on it, as soon as its pod ends", advice)
		case c.Status.Phase == corev1.ClaimPending && p.Now.Sub(c.CreationTimestamp.Time) > startPatience:
			problem := "has no volume after " + p.ago(c.CreationTimestamp.Time)
			if e := p.lastWarning("PersistentVolumeClaim "+c.Name, ""); e != nil {
				problem += ": " + e.Reason + ": " + oneLine(e.Message)
			}
			p.add(Warning, "claim "+c.Name, problem, "see whether there is a StorageClass of that name, or a default one, that makes volumes: "+p.kubectlAnywhere("get storageclass"))
		}
	}
}
