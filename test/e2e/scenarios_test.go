//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// all is set by `make test-operations`, which has the hour that the long ones take.
var all = flag.Bool("e2e.all", false, "run the long scenarios, too; they want five nodes and the images that hack/e2e.sh builds for them")

// scenarios are what is done to clusters while clients write and read. Each makes a cluster of its own.
var scenarios = []struct {
	name string
	long bool
	run  func(*testing.T)
}{
	{name: "children edited by a person", run: childrenEdited},
	{name: "an update that cannot start", run: updateFails},

	{name: "kubectl raftkv", long: true, run: commandLine},
	{name: "everybody is told who leads", long: true, run: leadersFollowed},
	{name: "ten rolls of three members", long: true, run: func(t *testing.T) { rolls(t, "roller", 3) }},
	{name: "ten rolls of five members", long: true, run: func(t *testing.T) { rolls(t, "roller5", 5) }},
	{name: "an older build and back", long: true, run: featureLevels},
	{name: "the operator is killed fifty times", long: true, run: operatorKilled},
	{name: "one of two operators is killed", long: true, run: operatorSucceeded},
	{name: "the operator's network is cut", long: true, run: operatorCutOff},
	{name: "the operator's rights are taken away", long: true, run: operatorDisowned},
	{name: "one to five members and back", long: true, run: oneToFiveAndBack},
	{name: "scale-in while a member is down", long: true, run: scaleInWhileDown},
	{name: "scale-out while a node is cut off", long: true, run: scaleOutWhileCutOff},
	{name: "two volumes of five are lost", long: true, run: twoOfFiveLost},
	{name: "three volumes of five are lost", long: true, run: threeOfFiveLost},
	{name: "a volume's data is wiped", long: true, run: dataWiped},
	{name: "all pods are deleted at once", long: true, run: allPodsDeleted},
	{name: "the leader's node is drained", long: true, run: nodeDrained},
	{name: "all nodes are restarted", long: true, run: nodesRestarted},
}

// TestOperations plays the scenarios.
func TestOperations(t *testing.T) {
	for _, s := range scenarios {
		if s.long && !*all {
			continue
		}
		t.Run(s.name, s.run)
	}
}

// operated is a cluster with clients, to which something is done.
type operated struct {
	*stream
	began time.Time // of what is done to it now
}

// operate makes the cluster and its clients. They write from the network of the leader's node.
func operate(t *testing.T, c *v1.RaftCluster) *operated {
	t.Helper()
	return operateFrom(t, c, "")
}

// operateFrom makes the cluster and clients on that node; "" is the leader's.
func operateFrom(t *testing.T, c *v1.RaftCluster, node string) *operated {
	t.Helper()
	apply(t, c)
	if node == "" {
		node = leader(t, c.Name).Spec.NodeName
	}
	o := &operated{stream: start(t, c.Name, node, true)}
	o.waitWrites(t, enoughWrites)
	o.begin()
	return o
}

// begin starts to measure.
func (o *operated) begin() {
	o.began = time.Now()
	o.mark()
}

// converged waits until the cluster is as its spec asks, and adds a line about that to the report.
func (o *operated) converged(t *testing.T, did string) {
	t.Helper()
	waitReady(t, o.cluster)
	o.line(t, did, time.Since(o.began))
	o.begin()
}

// line adds a line to the report: what was done, what became of the writes, and how long it took.
func (o *operated) line(t *testing.T, did string, took time.Duration) {
	t.Helper()
	o.waitWrites(t, enoughWrites)
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.lastFailure(); s != "" {
		t.Logf("%d writes were refused, of %d nobody knows%s", len(o.refused), o.unknown, s)
	}
	reportLine(t, "| %s | %d | %d | %d | %d | %.2f s | %.0f s |", did, len(o.acked), o.retried, len(o.refused), o.unknown,
		o.longest.Seconds(), took.Seconds())
}

// settle shows that nothing was lost, and that the history of the shared keys is linearizable.
func (o *operated) settle(t *testing.T) {
	t.Helper()
	o.waitWrites(t, enoughWrites)
	o.shares(t)
	o.end()
	o.audit(t)
	if t.Failed() {
		return
	}
	acked, _ := o.outcomes()
	o.mu.Lock()
	defer o.mu.Unlock()
	reportLine(t, "| **%s**: %d acknowledged writes on every member, **lost 0**; %d operations on shared keys linearizable | | | | | %.2f s | |",
		t.Name(), len(acked), o.shared.checked, o.worst.Seconds())
}

// reportLine logs a line and adds it to the report, if there is one (E2E_REPORT names its file).
func reportLine(t *testing.T, format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	t.Log(text)
	name := os.Getenv("E2E_REPORT")
	if name == "" {
		return
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := fmt.Fprintln(file, text); err != nil {
		t.Fatal(err)
	}
}

// says logs what the operator tells of the cluster now.
func says(t *testing.T, name string) {
	t.Helper()
	c, err := getCluster(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the operator says: %s", describe(c.Status.Conditions))
}

// patch edits an object.
func patch[T client.Object](t *testing.T, object T, edit func(T)) {
	t.Helper()
	if err := kube.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatal(err)
	}
	before := object.DeepCopyObject().(client.Object)
	edit(object)
	if err := kube.Patch(t.Context(), object, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}
