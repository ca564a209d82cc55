//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

func statefulSet(ctx context.Context, name string) (*appsv1.StatefulSet, error) {
	var set appsv1.StatefulSet
	return &set, kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &set)
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// loseVolumes deletes so many pods with their claims at once, the leader's among them or not, and returns them.
func (o *operated) loseVolumes(t *testing.T, leaderToo bool, count int) []corev1.Pod {
	t.Helper()
	lead, before := leader(t, o.cluster), memberIDs(t, o.cluster)
	var victims []corev1.Pod
	if leaderToo {
		victims = append(victims, lead)
	}
	for _, pod := range mustPods(t, o.cluster) {
		if len(victims) < count && pod.Name != lead.Name {
			victims = append(victims, pod)
		}
	}
	for i := range victims {
		if err := kube.Delete(t.Context(), &corev1.PersistentVolumeClaim{ObjectMeta: named("data-" + victims[i].Name)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range victims {
		if err := kube.Delete(t.Context(), &victims[i], client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
	}
	if 2*count < len(before) {
		o.renewed(t, before, victims)
	}
	return victims
}

// renewed waits until the victims are members under new IDs.
func (o *operated) renewed(t *testing.T, before map[string]string, victims []corev1.Pod) {
	t.Helper()
	eventually(t, "those that lost their data are members under new IDs", func(ctx context.Context) error {
		c, err := getCluster(ctx, o.cluster)
		if err != nil {
			return err
		}
		for _, m := range c.Status.Members {
			for _, victim := range victims {
				if m.ID == before[victim.Name] {
					return fmt.Errorf("the old ID %s of %s is still a member", m.ID, victim.Name)
				}
			}
		}
		return ready(ctx, o.cluster)
	})
}

func twoOfFiveLost(t *testing.T) {
	o := operate(t, newCluster("halved", 5))
	o.loseVolumes(t, true, 2)
	o.converged(t, "two of five pods deleted with their claims at once, the leader's among them")
	o.settle(t)
}

// threeOfFiveLost loses the quorum for good, but not the leader, which has all that was acknowledged. Clients go on all the time.
func threeOfFiveLost(t *testing.T) {
	const name = "decimated"
	o := operate(t, newCluster(name, 5))
	o.loseVolumes(t, false, 3)
	waitCondition(t, name, v1.ConditionStalled, "QuorumLost")
	says(t, name)
	c, err := getCluster(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	old := c.Status.ClusterID
	change(t, name, func(s *v1.RaftClusterSpec) { s.Recovery = &v1.RecoverySpec{ClusterID: old, AcknowledgeDataLoss: true} })
	o.converged(t, "three of five pods deleted with their claims at once; `recovery` consents to go on with what is left")
	c = change(t, name, func(s *v1.RaftClusterSpec) { s.Recovery = nil })
	if c.Status.ClusterID == old || c.Status.Recovery == nil || c.Status.Recovery.From != old {
		t.Errorf("the cluster was %s; its status is %+v", old, c.Status)
	}
	o.settle(t)
}

// dataWiped empties the folder of a follower's volume, and then of the leader's, under the claim that stays.
func dataWiped(t *testing.T) {
	o := operate(t, newCluster("wiped", 3))
	for _, leads := range []bool{false, true} {
		before, lead := memberIDs(t, o.cluster), leader(t, o.cluster)
		for _, pod := range mustPods(t, o.cluster) {
			if (pod.Name == lead.Name) != leads {
				continue
			}
			o.begin()
			wipe(t, pod)
			o.renewed(t, before, []corev1.Pod{pod})
			o.converged(t, fmt.Sprintf("all files of %s's volume deleted and its process killed (it led: %t)", pod.Name, leads))
			break
		}
	}
	o.settle(t)
}

// wipe holds the pod's process, deletes all that is in its volume, and kills it.
func wipe(t *testing.T, pod corev1.Pod) {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: named("data-" + pod.Name)}
	volume := &corev1.PersistentVolume{}
	err := kube.Get(t.Context(), client.ObjectKeyFromObject(claim), claim)
	if err == nil {
		err = kube.Get(t.Context(), client.ObjectKey{Name: claim.Spec.VolumeName}, volume)
	}
	if err != nil {
		t.Fatal(err)
	}
	var folder string
	if volume.Spec.HostPath != nil {
		folder = volume.Spec.HostPath.Path
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) == 0 {
		t.Fatalf("the volume of %s is %q with %d entries: %v", pod.Name, folder, len(entries), err)
	}
	process, err := processOf(pod, nodeProgram)
	if err == nil {
		err = syscall.Kill(process, syscall.SIGSTOP)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(process, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func allPodsDeleted(t *testing.T) {
	o := operate(t, newCluster("emptied", 5))
	all := mustPods(t, o.cluster)
	o.begin()
	for _, pod := range all {
		if err := kube.Delete(t.Context(), &pod, client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
	}
	for _, pod := range all {
		waitReplaced(t, pod)
	}
	o.converged(t, "all five pods deleted at once")
	o.settle(t)
}

// nodeDrained drains the leader's node as an administrator does. Volumes stay on their nodes here, so the pod comes back after the uncordon.
func nodeDrained(t *testing.T) {
	o := operate(t, spread(newCluster("drained", 3)))
	p := pursue(t, o.cluster)
	lead, _ := p.leader(t)
	for _, pod := range mustPods(t, o.cluster) {
		if pod.Name != lead.Name {
			o.via(pod.Spec.NodeName)
		}
	}
	o.waitWrites(t, enoughWrites)
	said := lastWords(t, lead)
	o.begin()
	t.Cleanup(func() { _ = exec.Command("kubectl", "uncordon", lead.Spec.NodeName).Run() })
	if text, err := exec.Command("kubectl", "drain", lead.Spec.NodeName, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s").CombinedOutput(); err != nil {
		t.Fatalf("kubectl drain: %v\n%s", err, text)
	}
	o.waitWrites(t, enoughWrites)
	if text, err := exec.Command("kubectl", "uncordon", lead.Spec.NodeName).CombinedOutput(); err != nil {
		t.Fatalf("kubectl uncordon: %v\n%s", err, text)
	}
	waitReplaced(t, lead)
	o.converged(t, "the leader's node drained, and uncordoned")
	if failed := len(o.refused) + o.unknown; failed > 0 {
		t.Errorf("%d writes have failed, the last with: %s", failed, o.lastSeen)
	}
	p.mu.Lock()
	yielded := p.yielded[lead.Name]
	p.mu.Unlock()
	if text := said(); !yielded && !strings.Contains(text, "handed leadership over") {
		t.Errorf("%s led and did not hand over before it ended; its last words:\n%s", lead.Name, text)
	}
	o.settle(t)
}

// lastWords follows the pod's log, and gives what it wrote from now to its end, which it waits for.
func lastWords(t *testing.T, pod corev1.Pod) func() string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
	t.Cleanup(cancel)
	var text bytes.Buffer
	follow := exec.CommandContext(ctx, "kubectl", "-n", pod.Namespace, "logs", pod.Name, "--follow", "--since=1s")
	follow.Stdout, follow.Stderr = &text, &text
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		_ = follow.Wait() // what it wrote until then is what counts
		return text.String()
	}
}

// nodesRestarted ends every node at once, as a power loss of all machines does, and starts them again.
func nodesRestarted(t *testing.T) {
	o := operate(t, newCluster("darkened", 3))
	lead := leader(t, o.cluster)
	nodes := machine.nodes()
	o.begin()
	each := func(command string) {
		t.Helper()
		errs := make([]error, len(nodes))
		var done sync.WaitGroup
		for i, node := range nodes {
			done.Go(func() {
				text, err := exec.Command(machine.program, command, node).CombinedOutput()
				if err != nil {
					errs[i] = fmt.Errorf("localkube %s %s: %w\n%s", command, node, err, text)
				}
			})
		}
		done.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	each("stop")
	each("start")
	// The nodes are other processes now, in other networks.
	again, err := findLocalkube(machine.program)
	if err != nil {
		t.Fatal(err)
	}
	machine = again
	o.via(lead.Spec.NodeName)
	o.converged(t, fmt.Sprintf("all %d nodes stopped at once as by a power loss, and started", len(nodes)))
	o.settle(t)
}

// childrenEdited has a person delete and edit what the operator made.
func childrenEdited(t *testing.T) {
	const name = "meddled"
	o := operate(t, newCluster(name, 3))
	lead, before := leader(t, name), mustPods(t, name)
	service, budget := &corev1.Service{ObjectMeta: named(name)}, &policyv1.PodDisruptionBudget{ObjectMeta: named(name)}
	selector := func(ctx context.Context) error {
		if err := kube.Get(ctx, client.ObjectKeyFromObject(service), service); err != nil {
			return err
		}
		if service.Spec.Selector["app.kubernetes.io/instance"] != name {
			return fmt.Errorf("the Service selects %v", service.Spec.Selector)
		}
		return nil
	}

	patch(t, service, func(s *corev1.Service) { s.Spec.Selector["app.kubernetes.io/instance"] = "nobody" })
	eventually(t, "the Service selects the members again", selector)
	if err := kube.Delete(t.Context(), &corev1.Service{ObjectMeta: named(name + "-leader")}); err != nil {
		t.Fatal(err)
	}
	patch(t, &corev1.Pod{ObjectMeta: named(lead.Name)}, func(p *corev1.Pod) { delete(p.Labels, "raftkv.io/role") })
	(&survivor{cluster: name, stream: o.stream}).leaderServiceFollows(t)
	o.converged(t, "the Service edited, the leader Service deleted, the leader's label removed")

	patch(t, budget, func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable.IntVal = 0 })
	eventually(t, "the budget lets one voter go", func(ctx context.Context) error {
		if err := kube.Get(ctx, client.ObjectKeyFromObject(budget), budget); err != nil {
			return err
		}
		if budget.Spec.MinAvailable.IntValue() != 2 {
			return fmt.Errorf("minAvailable is %v", budget.Spec.MinAvailable)
		}
		return nil
	})
	old := budget.UID
	if err := kube.Delete(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is a budget again", func(ctx context.Context) error {
		err := kube.Get(ctx, client.ObjectKeyFromObject(budget), budget)
		if err == nil && budget.UID == old {
			err = errors.New("still the old one")
		}
		return err
	})
	o.converged(t, "the PodDisruptionBudget edited and deleted")

	set, err := statefulSet(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	patch(t, set, func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "example.com/edited" })
	eventually(t, "the StatefulSet has its image again", func(ctx context.Context) error {
		now, err := statefulSet(ctx, name)
		if err == nil && now.Spec.Template.Spec.Containers[0].Image == "example.com/edited" {
			err = errors.New("it has the edited one")
		}
		return err
	})
	o.converged(t, "the StatefulSet's image edited")

	// What the schema takes and Kubernetes does not: it is said, and nothing else happens.
	change(t, name, func(s *v1.RaftClusterSpec) { s.PodTemplate.NodeSelector = map[string]string{"disk": "not a label!"} })
	waitCondition(t, name, v1.ConditionStalled, "SpecRefused")
	says(t, name)
	o.waitWrites(t, enoughWrites)
	change(t, name, func(s *v1.RaftClusterSpec) { s.PodTemplate.NodeSelector = nil })
	o.converged(t, "a nodeSelector that Kubernetes refuses, and its correction")
	waitEvent(t, name, "what Kubernetes refused", func(e corev1.Event) bool { return e.Reason == "StalledSpecRefused" })
	for podName, pod := range mustPods(t, name) {
		if pod.UID != before[podName].UID {
			t.Errorf("%s was restarted", podName)
		}
	}

	// With all its pods: the store goes down with them and comes back with everything. One of them ends late, and its namesake cannot be made before. Kubernetes tries that again after pauses that grow, also with
	// everything that happens to the other pods meanwhile: by the time that it could, the next try is a quarter of an hour away.
	late := before[name+"-1"]
	const holds = "test.raftkv.io/holds"
	patch(t, &late, func(p *corev1.Pod) { p.Finalizers = append(p.Finalizers, holds) })
	if err := kube.Delete(t.Context(), set, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	for podName, pod := range before {
		if podName != late.Name {
			waitReplaced(t, pod)
		}
	}
	for i := range 150 {
		patch(t, &corev1.Pod{ObjectMeta: named(name + "-0")}, func(p *corev1.Pod) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, holds, strconv.Itoa(i)) })
		o.waitWrites(t, 10)
	}
	patch(t, &late, func(p *corev1.Pod) {
		p.Finalizers = slices.DeleteFunc(p.Finalizers, func(f string) bool { return f == holds })
	})
	waitReplaced(t, late)
	o.converged(t, "the StatefulSet deleted with all its pods")
	t.Logf("events: %s", reasons(eventsOf(t, name)))
	for _, child := range [][2]string{{"Service", name}, {"Service", name + "-leader"}, {"PodDisruptionBudget", name}, {"StatefulSet", name}} {
		waitEvent(t, name, fmt.Sprintf("that the %s %s was put right", child[0], child[1]), func(e corev1.Event) bool {
			return e.Reason == "ChildPutRight" && e.Related != nil && e.Related.Kind == child[0] && e.Related.Name == child[1]
		})
	}
	o.settle(t)
}
