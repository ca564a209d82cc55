//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

const (
	// askPause is between two questions to one node whether it leads: times are told no finer than that.
	askPause = 20 * time.Millisecond
	// leaderKills is how often the leader is killed to see how soon everybody is told of the next one.
	leaderKills = 5
)

// place is where one can read who leads.
type place int

const (
	byNode   place = iota // the node's own word
	byLabel               // the label of its pod
	byStatus              // status.leader of the RaftCluster
	bySlice               // the one ready address behind the leader Service
	places
)

func (p place) String() string {
	return [...]string{"a node", "the pod's label", "status.leader", "the EndpointSlice"}[p]
}

// pursuit notes since when each place names the leader that it names now, as a client sees it that watches the API server and asks the nodes all the time.
type pursuit struct {
	cluster string
	pods    map[string]string // address to name, of the pods that were there when it began

	mu    sync.Mutex
	term  uint64 // the highest in which a node says that it leads
	names [places]string
	since [places]time.Time
	// yielded are the pods whose nodes led and said later, in the same life, that they do not.
	yielded map[string]bool
}

// pursue begins to watch, and returns when all places name the leader.
func pursue(t *testing.T, cluster string) *pursuit {
	t.Helper()
	p := &pursuit{cluster: cluster, pods: map[string]string{}, yielded: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	all := mustPods(t, cluster)
	for name, pod := range all {
		p.pods[pod.Status.PodIP] = name
	}
	for _, pod := range all {
		done.Go(func() { p.ask(ctx, pod) })
	}
	done.Go(func() {
		roles := map[string]string{}
		p.watch(ctx, &corev1.PodList{}, func(e watch.Event) {
			if pod, ok := e.Object.(*corev1.Pod); ok {
				delete(roles, pod.Name)
				if e.Type != watch.Deleted {
					roles[pod.Name] = pod.Labels["raftkv.io/role"]
				}
				p.saw(byLabel, leaders(roles))
			}
		}, client.MatchingLabels{"app.kubernetes.io/instance": cluster, "app.kubernetes.io/component": "node"})
	})
	done.Go(func() {
		p.watch(ctx, &v1.RaftClusterList{}, func(e watch.Event) {
			if c, ok := e.Object.(*v1.RaftCluster); ok && c.Status.Leader != nil {
				p.saw(byStatus, c.Status.Leader.Name)
			}
		}, client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", cluster)})
	})
	done.Go(func() {
		behind := map[string][]string{}
		p.watch(ctx, &discoveryv1.EndpointSliceList{}, func(e watch.Event) {
			if s, ok := e.Object.(*discoveryv1.EndpointSlice); ok {
				delete(behind, s.Name)
				if e.Type != watch.Deleted {
					behind[s.Name] = readyAddresses(s)
				}
				p.saw(bySlice, p.only(behind))
			}
		}, client.MatchingLabels{discoveryv1.LabelServiceName: cluster + "-leader"})
	})
	p.agreed(t, 0)
	return p
}

// ask asks one node whether it leads, again and again, as long as it has the address that it has now.
func (p *pursuit) ask(ctx context.Context, pod corev1.Pod) {
	c := newHTTPClient(control)
	defer c.CloseIdleConnections()
	ticker := time.NewTicker(askPause)
	defer ticker.Stop()
	led := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var s status
		body, err := get(ctx, c, "http://"+hostPort(pod.Status.PodIP, 8080)+"/v1/status")
		if err == nil {
			err = json.Unmarshal(body, &s)
		}
		switch {
		case err != nil || s.Name != pod.Name:
			led = false // it may begin another life before it answers again
		case s.Role == "leader":
			led = true
			p.leads(s)
		case led && s.Role == "follower":
			led = false
			p.mu.Lock()
			p.yielded[s.Name] = true
			p.mu.Unlock()
		}
	}
}

// leads notes that a node said so.
func (p *pursuit) leads(s status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Term > p.term {
		p.term, p.names[byNode], p.since[byNode] = s.Term, s.Name, time.Now()
	}
}

// saw notes whom a place names; "" is nobody, or several.
func (p *pursuit) saw(at place, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name != "" && p.names[at] != name {
		p.names[at], p.since[at] = name, time.Now()
	}
}

// watch tells of each object of the list and of each change, and begins anew where a watch ends.
func (p *pursuit) watch(ctx context.Context, list client.ObjectList, tell func(watch.Event), which ...client.ListOption) {
	for ctx.Err() == nil {
		if w, err := kube.Watch(ctx, list, append(which, client.InNamespace(namespace))...); err == nil {
			for e := range w.ResultChan() {
				tell(e)
			}
			w.Stop()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollInterval):
		}
	}
}

// leaders is the one pod that is labelled as the leader; "" if there are none or several.
func leaders(roles map[string]string) string {
	found := ""
	for name, role := range roles {
		switch {
		case role != "leader":
		case found != "":
			return ""
		default:
			found = name
		}
	}
	return found
}

func readyAddresses(s *discoveryv1.EndpointSlice) []string {
	var out []string
	for _, e := range s.Endpoints {
		if ptr.Deref(e.Conditions.Ready, true) {
			out = append(out, e.Addresses...)
		}
	}
	return out
}

// only is the pod whose address is the only one behind the Service.
func (p *pursuit) only(behind map[string][]string) string {
	all := slices.Concat(slices.Collect(maps.Values(behind))...)
	if len(all) != 1 {
		return ""
	}
	return p.pods[all[0]]
}

// leader is who leads by all places, and in which term.
func (p *pursuit) leader(t *testing.T) (corev1.Pod, uint64) {
	t.Helper()
	p.agreed(t, 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	return mustPods(t, p.cluster)[p.names[byNode]], p.term
}

// agreed waits until all places name the one that leads in a later term.
func (p *pursuit) agreed(t *testing.T, after uint64) {
	t.Helper()
	eventually(t, "labels, status and leader Service name who leads "+p.cluster, func(context.Context) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.term <= after {
			return fmt.Errorf("nobody leads in a later term than %d", after)
		}
		for at, name := range p.names {
			if name != p.names[byNode] {
				return fmt.Errorf("%s leads in term %d, and by %v %q does", p.names[byNode], p.term, place(at), name)
			}
		}
		return nil
	})
}

// delays waits until all places name the one that leads in a later term, and tells how long after a node's first word that it leads each of them did; false where the
// same one leads as before.
func (p *pursuit) delays(t *testing.T, after uint64, old string) (took [places]time.Duration, moved bool) {
	t.Helper()
	p.agreed(t, after)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names[byNode] == old {
		t.Logf("%s leads again", old)
		return took, false
	}
	for at := range p.since {
		// The operator is told by the node, and may have been quicker than the next question here.
		took[at] = max(0, p.since[at].Sub(p.since[byNode]))
	}
	t.Logf("%s leads; %v names it %d ms later, %v %d ms, %v %d ms", p.names[byNode], byLabel, took[byLabel].Milliseconds(), byStatus, took[byStatus].Milliseconds(),
		bySlice, took[bySlice].Milliseconds())
	return took, true
}

// leadersFollowed kills the leader again and again and then cuts its node off, and reports how soon everybody is told of the next one. The goals are 500 ms for label and
// status and 1 s for the leader Service.
func leadersFollowed(t *testing.T) {
	const name = "followed"
	o := operate(t, spread(newCluster(name, 3)))
	p := pursue(t, name)
	var took [places][]time.Duration
	for range leaderKills {
		old, term := p.leader(t)
		machine.kill(t, old, nodeProgram)
		if d, moved := p.delays(t, term, old.Name); moved {
			for at := range took {
				took[at] = append(took[at], d[at])
			}
		}
		waitRestarted(t, old)
		waitReady(t, name)
	}
	o.converged(t, fmt.Sprintf("the leader's process killed %d times", leaderKills))
	told := make([]string, 0, places)
	for at := byLabel; at < places; at++ {
		slices.Sort(took[at])
		told = append(told, fmt.Sprintf("%v: %v", at, milliseconds(took[at])))
	}
	reportLine(t, "| ms from the next node's first word that it leads until all are told, sorted; %s | | | | | | |", strings.Join(told, "; "))

	operator, err := workingOperator(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	old, term := p.leader(t)
	if operator.Spec.NodeName == old.Spec.NodeName {
		// Who tells would be cut off, too: another one is to lead.
		kubectlRaftkv(t, "step-down", name)
		p.agreed(t, term)
		old, term = p.leader(t)
	}
	for _, pod := range mustPods(t, name) {
		if pod.Spec.NodeName != old.Spec.NodeName {
			o.via(pod.Spec.NodeName)
		}
	}
	o.waitWrites(t, enoughWrites)
	o.begin()
	machine.cut(t, old.Spec.NodeName)
	d, moved := p.delays(t, term, old.Name)
	if !moved {
		t.Errorf("%s leads in another term, and nobody can reach it", old.Name)
	}
	o.waitWrites(t, enoughWrites)
	machine.heal(t, old.Spec.NodeName)
	waitNode(t, old.Spec.NodeName, true)
	o.converged(t, fmt.Sprintf("the leader's node cut off; label, status and EndpointSlice tell of the next %v ms after its first word", milliseconds(d[byLabel:])))
	o.settle(t)
}
