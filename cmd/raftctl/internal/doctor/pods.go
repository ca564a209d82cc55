package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/controllers/resources"
)

const (
	// startPatience is how long a pod may take to begin to run before that is worth a word.
	startPatience = time.Minute
	// restartsMemory is how long ago a container's last end may be to be worth a word.
	restartsMemory = time.Hour
)

// pods looks at each pod that is to be there.
func (p *patient) pods() {
	for ordinal := range p.Desired() {
		name := resources.PodName(p.name, ordinal)
		if pod := p.Pod(name); pod != nil {
			p.pod(pod)
			continue
		}
		advice := []string{"see what the StatefulSet says: " + p.kubectl("describe statefulset %s", resources.StatefulSetName(p.name))}
		problem := "there is no such pod"
		if e := p.lastWarning("StatefulSet "+resources.StatefulSetName(p.name), name); e != nil {
			problem += ": " + e.Reason + ": " + e.Message
		}
		p.add(Warning, name, problem, advice...)
	}
}

func (p *patient) pod(pod *cluster.Pod) {
	switch {
	case pod.DeletionTimestamp != nil:
		p.ending(pod)
		return
	case p.unscheduled(pod) || p.waiting(pod):
		return
	case !cluster.Running(&pod.Pod):
		if p.Now.Sub(pod.CreationTimestamp.Time) > startPatience {
			problem := fmt.Sprintf("its container does not run after %s", p.ago(pod.CreationTimestamp.Time))
			if e := p.lastWarning("Pod "+pod.Name, ""); e != nil {
				problem += ": " + e.Reason + ": " + e.Message
			}
			p.add(Warning, pod.Name, problem, "see its events: "+p.kubectl("describe pod %s", pod.Name))
		}
		return
	}
	p.restarts(pod)
	switch n := pod.Node; {
	case n == nil:
		p.add(Warning, pod.Name, "its container runs, but "+strings.TrimPrefix(pod.NodeError, "its node ")+" when its status is asked for",
			"if you may not forward ports to pods, that is why: this needs the right to create pods/portforward",
			"read what the node says: "+p.kubectl("logs %s", pod.Name))
	case n.Fenced != "":
		p.add(Warning, pod.Name, "the member was fenced, since its state differed from the others': "+n.Fenced,
			"nothing: its directory was set aside, and it is rebuilt from the others; keep the directory for whoever looks into it")
	case !n.Ready:
		p.add(Warning, pod.Name, fmt.Sprintf("the node is not ready (%s): %s", n.State, n.NotReady), "if it stays so, read what it says: "+p.kubectl("logs %s", pod.Name))
	case !cluster.IsReady(&pod.Pod):
		p.add(Remark, pod.Name, "the node is ready, the kubelet has not said so of the pod yet")
	}
}

// ending is a pod that was asked to go.
func (p *patient) ending(pod *cluster.Pod) {
	grace := 30 * time.Second
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	since := pod.DeletionTimestamp.Add(-grace)
	if p.Now.Sub(pod.DeletionTimestamp.Time) < startPatience {
		p.add(Remark, pod.Name, "is ending since "+p.ago(since))
		return
	}
	p.add(Warning, pod.Name, fmt.Sprintf("was asked to end %s ago and has not: the machine %s does not answer, or a finalizer holds the pod", p.ago(since), pod.Spec.NodeName),
		"see whether the machine is there: "+p.kubectlAnywhere("get node %s", pod.Spec.NodeName),
		"if it is gone for good, delete the Node or declare it out of service, and the operator removes the pod: "+p.kubectlAnywhere("taint node %s node.kubernetes.io/out-of-service=nodeshutdown:NoExecute", pod.Spec.NodeName))
}

func (p *patient) unscheduled(pod *cluster.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			p.add(Warning, pod.Name, "no machine takes it: "+oneLine(c.Message),
				"make room, or lower spec.resources; look at nodeSelector, affinity and tolerations in spec.podTemplate",
				"a volume binds a pod to where the volume is: see its claim with "+p.kubectl("describe pvc %s", resources.ClaimName(p.name, pod.Ordinal)))
			return true
		}
	}
	return false
}

// waiting is a container that Kubernetes does not start, or not again.
func (p *patient) waiting(pod *cluster.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		w := c.State.Waiting
		if w == nil {
			continue
		}
		switch w.Reason {
		case "", "ContainerCreating", "PodInitializing":
			continue
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
			p.add(Warning, pod.Name, fmt.Sprintf("its image %s cannot be had (%s): %s", c.Image, w.Reason, oneLine(w.Message)),
				"correct spec.image, or give the machines access to that registry")
		case "CrashLoopBackOff":
			problem := "its container ends again and again"
			if last := c.LastTerminationState.Terminated; last != nil {
				problem += fmt.Sprintf(", last with exit code %d (%s)", last.ExitCode, last.Reason)
			}
			p.add(Warning, pod.Name, problem, "read its last words: "+p.kubectl("logs --previous %s", pod.Name))
		default:
			p.add(Warning, pod.Name, fmt.Sprintf("its container does not start (%s): %s", w.Reason, oneLine(w.Message)), "see its events: "+p.kubectl("describe pod %s", pod.Name))
		}
		return true
	}
	return false
}

// restarts are ends of a container that runs again.
func (p *patient) restarts(pod *cluster.Pod) {
	for _, c := range pod.Status.ContainerStatuses {
		last := c.LastTerminationState.Terminated
		if last == nil || p.Now.Sub(last.FinishedAt.Time) > restartsMemory {
			continue
		}
		if last.Reason == "OOMKilled" {
			p.add(Warning, pod.Name, fmt.Sprintf("its container was killed %s ago because it took more memory than it may", p.ago(last.FinishedAt.Time)),
				"raise spec.resources.limits.memory")
			continue
		}
		if last.ExitCode != 0 {
			p.add(Warning, pod.Name, fmt.Sprintf("its container ended %s ago with exit code %d (%s), and runs again; %d restarts in all", p.ago(last.FinishedAt.Time), last.ExitCode, last.Reason, c.RestartCount),
				"read its last words: "+p.kubectl("logs --previous %s", pod.Name))
		}
	}
}

// lastWarning is the newest warning about an object that has the word in its text: a StatefulSet's events are about any of its pods.
func (p *patient) lastWarning(object, word string) *cluster.Event {
	for i := len(p.Events) - 1; i >= 0; i-- {
		if e := &p.Events[i]; e.Object == object && e.Type == corev1.EventTypeWarning && (word == "" || slices.Contains(strings.Fields(e.Message), word)) {
			return e
		}
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
