//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// kubectlRaftkv runs `kubectl raftkv` and returns what it prints. hack/e2e.sh puts the plugin where kubectl finds it.
func kubectlRaftkv(t *testing.T, args ...string) string {
	t.Helper()
	text, complaint, err := tryKubectlRaftkv(args...)
	if err != nil {
		t.Fatalf("kubectl raftkv %v: %v\n%s%s", args, err, text, complaint)
	}
	return text
}

func tryKubectlRaftkv(args ...string) (text, complaint string, err error) {
	var out, errs bytes.Buffer
	c := exec.Command("kubectl", append([]string{"raftkv", "--namespace", namespace, "--timeout", settleTimeout.String()}, args...)...)
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	return out.String(), errs.String(), err
}

// commandLine uses `kubectl raftkv` as a person does, through the kubelets' port-forwards and logs.
func commandLine(t *testing.T) {
	const name = "commanded"
	o := operate(t, spread(newCluster(name, 3)))
	if text := kubectlRaftkv(t, "list"); !strings.Contains(text, name) {
		t.Errorf("list does not have %s:\n%s", name, text)
	}
	o.pictured(t)
	o.sound(t)

	lead := leader(t, name)
	text := kubectlRaftkv(t, "step-down", name)
	if now := leader(t, name); now.Name == lead.Name {
		t.Errorf("%s led, and leads again: %s", lead.Name, text)
	}
	o.converged(t, "kubectl raftkv step-down")
	o.logged(t)

	before := mustPods(t, name)
	kubectlRaftkv(t, "restart", name, "--wait")
	for podName, pod := range mustPods(t, name) {
		if pod.UID == before[podName].UID {
			t.Errorf("restart --wait came back, and %s is the pod that it was", podName)
		}
	}
	o.converged(t, "kubectl raftkv restart --wait")

	ids, victim := memberIDs(t, name), leader(t, name)
	eventually(t, "replace finds the others caught up", func(context.Context) error {
		_, complaint, err := tryKubectlRaftkv("replace", victim.Name, "--delete-volume")
		if err != nil {
			err = fmt.Errorf("%w: %s", err, complaint)
		}
		return err
	})
	o.renewed(t, ids, []corev1.Pod{victim})
	o.converged(t, "kubectl raftkv replace of the leader")
	o.pictured(t)
	o.settle(t)
}

// pictured shows that status knows each member by its node's own word.
func (o *operated) pictured(t *testing.T) {
	t.Helper()
	eventually(t, "status shows all members as they are", func(context.Context) error {
		text, complaint, err := tryKubectlRaftkv("status", o.cluster, "--output", "json")
		if err != nil {
			return fmt.Errorf("%w: %s", err, complaint)
		}
		var seen struct {
			ReadyPods int
			Leader    string
			Members   []struct{ Name, ID, State, AppliedIndex, Machine, Volume string }
			Unknown   []string
		}
		if err := json.Unmarshal([]byte(text), &seen); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if seen.Leader == "" || seen.ReadyPods != 3 || len(seen.Members) != 3 || len(seen.Unknown) > 0 {
			return fmt.Errorf("status shows %s", text)
		}
		for _, m := range seen.Members {
			if m.State != "ready" || m.ID == "" || m.AppliedIndex == "" || m.Machine == "" || m.Volume == "" {
				return fmt.Errorf("status shows %s", text)
			}
		}
		return nil
	})
	t.Logf("status:\n%s", kubectlRaftkv(t, "status", o.cluster))
}

// sound shows that doctor finds nothing wrong.
func (o *operated) sound(t *testing.T) {
	t.Helper()
	eventually(t, "doctor finds nothing wrong", func(context.Context) error {
		text, complaint, err := tryKubectlRaftkv("doctor", o.cluster)
		if err == nil && !strings.Contains(text, "nothing is wrong with "+o.cluster) {
			t.Fatalf("doctor succeeds and says: %s", text)
		}
		if err != nil {
			err = fmt.Errorf("%w: %s%s", err, text, complaint)
		}
		return err
	})
}

// logged shows that logs has lines of all members, in the order of time.
func (o *operated) logged(t *testing.T) {
	t.Helper()
	var last time.Time
	from := map[string]bool{}
	for line := range strings.Lines(kubectlRaftkv(t, "logs", o.cluster, "--output", "json")) {
		var l struct {
			Pod  string
			Time time.Time
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if l.Time.Before(last) {
			t.Errorf("a line of %v comes after one of %v: %s", l.Time, last, line)
		}
		last, from[l.Pod] = l.Time, true
	}
	if want := slices.Sorted(maps.Keys(mustPods(t, o.cluster))); !slices.Equal(slices.Sorted(maps.Keys(from)), want) {
		t.Errorf("logs has lines of %v, the pods are %v", slices.Sorted(maps.Keys(from)), want)
	}
}
