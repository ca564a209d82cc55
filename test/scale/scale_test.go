//go:build linux && scale

package scale

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/go-logr/logr"

	"github.com/raftkv/raftkv/controllers/resources"
)

// The goals: a bound on writes for each cluster, and what the operator may take while nothing happens.
const (
	maxWrites       = 30
	maxRestCPU      = 0.05
	maxRestMemory   = 250 << 20
	maxReadySeconds = 60

	// quiet is for how long the operator has written nothing when it counts as being at rest.
	quiet = 10 * time.Second
	// creators bounds the RaftClusters that are created at one time.
	creators = 8
	// patience is a safety net, for a machine that is slow.
	patience = time.Hour
	// elections is how many leaders change at rest, one after the other.
	elections = 10
)

// TestManyClusters creates all clusters at once, waits until they are ready, watches the operator at rest, lets leaders change, and at last
// starts another operator, to which all of that is old.
func TestManyClusters(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	count := *clustersFlag
	work := workFolder(t)
	k := startKubernetes(t, work, 1+count*members*5/4/podsPerNode)
	tokens := filepath.Join(work, "tokens")
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	fleet, volumes := newFleet(k.client, tokens), startVolumes(ctx, k.client)
	t.Cleanup(func() {
		fleet.close()
		if err := errors.Join(fleet.failed(), volumes.failed()); err != nil {
			t.Error(err)
		}
	})
	s := watch(t, ctx, k, fleet, volumes)
	operator := startOperator(t, k, "operator")

	began := time.Now()
	create(t, ctx, k, count)
	s.awaitReady(t, count)
	made := k.settled(t)
	if pods, _, _ := s.ready(); pods != count*members {
		t.Errorf("%d pods were ready, want %d", pods, count*members)
	}
	lastPod, lastCluster := s.last()
	_, peak := operator.memory(t)
	report(t, "%d RaftClusters of %d members, last pod ready after %.0f s", count, members, lastPod.Sub(began).Seconds())
	report(t, "all Ready %.1f s after the last pod (goal %d s)", max(0, lastCluster.Sub(lastPod).Seconds()), maxReadySeconds)
	worst, writes := made.most()
	report(t, "API writes per cluster: median %d, most %d (goal at most %d); %d writes and %d reads in all", made.median(), writes, maxWrites, made.writes, made.reads)
	report(t, "until then the operator used %.1f s of a core, and at most %.0f MB", operator.cpu(t).Seconds(), megabytes(peak))
	t.Logf("requests until all were Ready:\n%s", made)
	if writes > maxWrites {
		t.Errorf("%d API writes for cluster %s, want at most %d", writes, worst, maxWrites)
	}

	s.rest(t, k, operator, count)
	s.elections(t, k, count)
	operator.stop(t)
	k.audit.take(t)

	again := startOperator(t, k, "operator-again")
	again.awaitReconciled(t, count)
	known := k.settled(t)
	report(t, "another operator on the same clusters: %d writes about them, %d reads, %.1f s of a core", sum(known.perCluster), known.reads, again.cpu(t).Seconds())
	t.Logf("requests of another operator:\n%s", known)
	if n := sum(known.perCluster); n > 0 {
		t.Errorf("an operator that finds nothing to do wrote %d times", n)
	}
}

// workFolder is the one that was asked for, or one that goes with the test.
func workFolder(t *testing.T) string {
	t.Helper()
	if *dirFlag == "" {
		return t.TempDir()
	}
	folder, err := filepath.Abs(*dirFlag)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// report is a line for docs/SCALE.md.
func report(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("| "+format+" |", args...)
}

func megabytes(n int64) float64 { return float64(n) / (1 << 20) }

func sum(of map[string]int) (n int) {
	for _, x := range of {
		n += x
	}
	return n
}

// startOperator runs the operator as its Deployment does.
func startOperator(t *testing.T, k *kubernetes, name string) *process {
	t.Helper()
	return start(t, k.work, name, filepath.Join(programs, operatorProgram), []string{"KUBECONFIG=" + k.users[operatorUser]},
		"--leader-elect", "--leader-election-namespace="+operatorNamespace, "--node-image=raftkv/node:played",
		"--metrics-bind-address="+metricsAddress, "--health-probe-bind-address=127.0.0.1:8081", "--log-level=info")
}

func create(t *testing.T, ctx context.Context, k *kubernetes, count int) {
	t.Helper()
	work, failed := make(chan int), make(chan error, creators)
	for range creators {
		go func() {
			for i := range work {
				if err := k.client.Create(ctx, newCluster(i)); err != nil {
					failed <- fmt.Errorf("create %s: %w", clusterName(i), err)
					return
				}
			}
			failed <- nil
		}()
	}
	for i := range count {
		select {
		case work <- i:
		case err := <-failed:
			t.Fatal(err)
		}
	}
	close(work)
	for range creators {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}

// until waits for a condition.
func until(t *testing.T, what string, patience time.Duration, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func (s *scene) awaitReady(t *testing.T, count int) {
	t.Helper()
	told := time.Now()
	deadline := told.Add(patience)
	for {
		pods, clusters, why := s.ready()
		if clusters == count {
			return
		}
		if err := errors.Join(s.fleet.failed(), s.volumes.failed()); err != nil {
			t.Fatal(err)
		}
		if time.Since(told) > 30*time.Second {
			t.Logf("%d pods and %d of %d clusters are ready; %s", pods, clusters, count, why)
			told = time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d clusters were ready within %v; %s", clusters, count, patience, why)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// settled waits until the operator has written nothing about a cluster for a while, and gives all that it asked for since the last count.
func (k *kubernetes) settled(t *testing.T) *tally {
	t.Helper()
	all, since := k.audit.take(t), time.Now()
	until(t, "the operator comes to rest", patience, func() bool {
		more := k.audit.take(t)
		if len(more.perCluster) > 0 {
			since = time.Now()
		}
		all.add(more)
		return time.Since(since) > quiet
	})
	return all
}

// rest watches the operator while nothing happens.
func (s *scene) rest(t *testing.T, k *kubernetes, operator *process, count int) {
	t.Helper()
	k.audit.take(t)
	began, cpu := time.Now(), operator.cpu(t)
	<-time.After(*restFlag)
	lasted := time.Since(began)
	share := float64(operator.cpu(t)-cpu) / float64(lasted)
	memory, _ := operator.memory(t)
	asked := k.audit.take(t)
	hours := lasted.Hours()
	report(t, "at rest, over %.0f s: %.2f %% of a core (goal under %.0f %%), %.0f MB (goal under %d MB)",
		lasted.Seconds(), 100*share, 100*maxRestCPU, megabytes(memory), maxRestMemory>>20)
	report(t, "at rest: %.2f API requests per cluster and hour about the clusters, %.0f per hour for watches and the operator's own lease",
		float64(asked.ofClusters)/float64(count)/hours, float64(asked.writes+asked.reads-asked.ofClusters)/hours)
	t.Logf("requests at rest:\n%s", asked)
	if memory >= maxRestMemory {
		t.Errorf("the operator takes %.0f MB at rest, want less than %d", megabytes(memory), maxRestMemory>>20)
	}
	if asked.ofClusters > 0 {
		t.Errorf("%d requests about clusters at which nothing happened", asked.ofClusters)
	}
}

// elections lets leaders change, one after the other, and waits for the pods' labels, which the leader's Service selects by.
func (s *scene) elections(t *testing.T, k *kubernetes, count int) {
	t.Helper()
	k.audit.take(t)
	var times []string
	for i := range min(elections, count) {
		began := time.Now()
		from, to := s.fleet.group(clusterKey(i)).elect()
		until(t, "the labels follow the leader of "+clusterName(i), patience, func() bool {
			return s.role(to) == resources.RoleLeader && s.role(from) == resources.RoleFollower
		})
		times = append(times, fmt.Sprint(time.Since(began).Milliseconds()))
	}
	asked := k.settled(t)
	_, most := asked.most()
	report(t, "a leader changes: its pods' labels follow after %s ms (looked at every 50 ms); at most %d API writes each", strings.Join(times, ", "), most)
	t.Logf("requests for %d changes of leaders:\n%s", len(times), asked)
}
