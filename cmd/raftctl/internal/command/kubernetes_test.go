package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spf13/cobra"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/controllers/resources"
)

func resourceQuantity(s string) *resource.Quantity {
	q := resource.MustParse(s)
	return &q
}

func TestKeysThroughPortForwards(t *testing.T) {
	s := newStage(t)
	s.ok("--cluster", "demo", "put", "forwarded/a", "1")
	if out := raftctl(t, "get", "forwarded/a", "--raw"); out != "1" {
		t.Errorf("the write did not arrive: %q", out)
	}
	if out := s.ok("--cluster", "demo", "member", "list"); strings.Count(out, "demo-") != 9 {
		t.Errorf("member list says\n%s", out)
	}
	undisturbed(t, "", func() error {
		if said := s.run("--cluster", "demo", "status"); said.code != ExitOK || strings.Count(said.out, " follower ") != 2 {
			return fmt.Errorf("a status with two followers: %+v", said)
		}
		return nil
	})
	if out := s.ok("--cluster", "demo", "snapshot", "save", "--from", "demo-2", filepath.Join(t.TempDir(), "a.snapshot")); !strings.Contains(out, " is saved and checked\n") {
		t.Errorf("snapshot save says %q", out)
	}
	// Without the leader's pod the others serve, the first of them that is asked or not.
	for _, leader := range []string{"demo-0", "demo-1"} {
		lead(t, leader)
		s.refuse(leader, errors.New("the machine is gone"))
		s.ok("--cluster", "demo", "put", "forwarded/a", leader)
		s.refuse(leader, nil)
		if out := raftctl(t, "get", "forwarded/a", "--raw"); out != leader {
			t.Errorf("what was written without %s is %q", leader, out)
		}
	}
	s.mu.Lock()
	used := len(s.dialled)
	s.mu.Unlock()
	if used != 3 {
		t.Errorf("connections went to %d pods", used)
	}
	for _, n := range nodes(t) {
		s.refuse(n.name, errors.New("the network is gone"))
	}
	if said := s.run("--timeout=1s", "--cluster", "demo", "get", "forwarded/a"); said.code != ExitFailed {
		t.Errorf("with no pod: %+v", said)
	}
	if said := s.run("--cluster", "other", "get", "a"); said.code != ExitNotFound || !strings.Contains(said.err, "there is no RaftCluster other in namespace "+s.namespace) {
		t.Errorf("another cluster: %+v", said)
	}
}

func TestStepDown(t *testing.T) {
	s := newStage(t)
	for _, to := range []string{"demo-1", "demo-0"} {
		handOver(t, to, func() said { return s.run("step-down", "demo", "--to", to) })
	}
}

func TestStatusShowsTheWholeCluster(t *testing.T) {
	s := newStage(t)
	wanted := []string{"demo in namespace " + s.namespace + ": 3 of 3 pods ready, version test\n", "demo-1 leads in term ", " machine-2\n", "AsSpecified", "The operator waits for nothing\n"}
	undisturbed(t, "demo-1", func() error {
		said := s.run("status", "demo")
		for _, want := range wanted {
			if !strings.Contains(said.out, want) || said.code != ExitOK {
				return fmt.Errorf("%q is not in\n%s%s", want, said.out, said.err)
			}
		}
		return nil
	})
	type picture struct {
		Leader  string
		Members []struct{ Name, Role, State string }
	}
	undisturbed(t, "demo-1", func() error {
		got := decode[picture](t, s.ok("status", "demo", "-o", "json"))
		if got.Leader != "demo-1" || len(got.Members) != 3 || got.Members[1].Role != "leader" || got.Members[2].State != "ready" {
			return fmt.Errorf("in JSON: %+v", got)
		}
		return nil
	})
	s.refuse("demo-2", errors.New("connection refused"))
	if out := s.ok("status", "demo"); !strings.Contains(out, "no answer") {
		t.Errorf("a node that does not answer:\n%s", out)
	}
}

func TestDoctor(t *testing.T) {
	s := newStage(t)
	// A busy machine keeps a member silent for a moment, or makes an election, and the doctor rightly says so.
	s.until("a word that nothing is wrong", func() bool {
		said := s.run("doctor", "demo")
		return said.code == ExitOK && said.out == "nothing is wrong with demo\n"
	})
	s.refuse("demo-2", errors.New("connection refused"))
	s.until("a word of the one that does not answer, and of no other", func() bool {
		said := s.run("doctor", "demo")
		return said.code == ExitFailed && said.err == "" && strings.HasPrefix(said.out, "warning: demo-2: its container runs, but does not answer") && strings.Contains(said.out, "connection refused")
	})
	if said := s.run("doctor", "none"); said.code != ExitNotFound {
		t.Errorf("%+v", said)
	}
}

func TestListAndCompletion(t *testing.T) {
	s := newStage(t)
	s.report(map[string]string{v1.ConditionReconciling: "Updating"})
	if out := normal(s.ok("list")); out != "NAMESPACE  NAME  DESIRED  READY  LEADER  AVAILABLE  VERSION  STATE  AGE\n"+normal(s.namespace)+"  demo  N  N  demo-N  no  test  Updating  "+lastWord(out)+"\n" {
		t.Errorf("list says %q", out)
	}
	if out := s.ok("list", "--all-namespaces"); !strings.Contains(out, s.namespace) {
		t.Errorf("list of all says %q", out)
	}
	if said := s.run(cobra.ShellCompRequestCmd, "--kubeconfig", s.config, "doctor", "d"); !strings.HasPrefix(said.out, "demo\n") {
		t.Errorf("completion: %+v", said)
	}
}

func lastWord(s string) string {
	words := strings.Fields(s)
	return words[len(words)-1]
}

func TestWhatTheOperatorIsAskedFor(t *testing.T) {
	s := newStage(t)
	if out := s.ok("restart", "demo"); !strings.Contains(out, "restart of all pods: the operator was asked") {
		t.Errorf("restart says %q", out)
	}
	at, err := time.Parse(time.RFC3339, s.cluster().Spec.PodTemplate.Annotations[cluster.RestartedAt])
	if err != nil || time.Since(at) > patience {
		t.Errorf("asked for a restart at %v, %v", at, err)
	}
	s.ok("hibernate", "demo")
	if !s.cluster().Spec.Hibernate {
		t.Error("hibernate did not arrive")
	}
	if said := s.run("restart", "demo"); said.code != ExitFailed || !strings.Contains(said.err, "hibernates") {
		t.Errorf("restart of a cluster at rest: %+v", said)
	}
	s.ok("resume", "demo")
	if c := s.cluster(); c.Spec.Hibernate || c.Spec.PodTemplate.Annotations[cluster.RestartedAt] == "" {
		t.Errorf("after resume: %+v", c.Spec)
	}
	for _, command := range []string{"restart", "hibernate", "resume"} {
		if said := s.run(command, "none"); said.code != ExitNotFound {
			t.Errorf("%s of nothing: %+v", command, said)
		}
	}
}

func TestWaitingEndsWhenTheOperatorSaysSo(t *testing.T) {
	s := newStage(t)
	done := make(chan said, 1)
	go func() { done <- s.run("hibernate", "demo", "--wait") }()
	s.until("the wish", func() bool { return s.cluster().Spec.Hibernate })
	s.report(map[string]string{v1.ConditionReconciling: "Hibernating"})
	select {
	case got := <-done:
		t.Fatalf("it did not wait: %+v", got)
	default:
	}
	s.report(map[string]string{v1.ConditionHibernated: "Hibernated"})
	if got := <-done; got.code != ExitOK || got.out != "demo: hibernation: done\n" {
		t.Errorf("%+v", got)
	}

	go func() { done <- s.run("resume", "demo", "--wait") }()
	s.until("the wish", func() bool { return !s.cluster().Spec.Hibernate })
	s.report(map[string]string{v1.ConditionStalled: "QuorumLost"})
	if got := <-done; got.code != ExitFailed || !strings.Contains(got.err, "without a person: as the test has it (QuorumLost)") {
		t.Errorf("%+v", got)
	}

	k, err := cluster.Connect(cluster.Settings{Kubeconfig: s.config, Program: "raftctl"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.report(map[string]string{v1.ConditionReconciling: "Resuming"})
	err = k.Await(ctx, "demo", v1.ConditionReady, s.cluster().Generation, func(doing string) {
		if doing != "Resuming: as the test has it" {
			t.Errorf("it tells %q", doing)
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "raftctl status demo -n "+s.namespace) || !strings.Contains(err.Error(), "as the test has it") {
		t.Errorf("the end of the time: %v", err)
	}
}

func (s *stage) until(what string, holds func() bool) {
	s.t.Helper()
	eventually(s.t, what, holds)
}

func TestReplace(t *testing.T) {
	s := newStage(t)
	lead(t, "demo-1")
	s.refuse("demo-2", errors.New("connection refused"))
	if said := s.run("replace", "demo-1", "--delete-volume"); said.code != ExitFailed || !strings.Contains(said.err, "member demo-2 is not well") {
		t.Errorf("while another is not well: %+v", said)
	}
	s.refuse("demo-2", nil)
	if out := s.ok("replace", "demo-1", "--delete-volume"); !strings.Contains(out, "the operator replaces the member") {
		t.Errorf("replace says %q", out)
	}
	for _, object := range []client.Object{new(corev1.PersistentVolumeClaim), new(corev1.Pod)} {
		for i := range 3 {
			name := resources.PodName("demo", i)
			if _, isClaim := object.(*corev1.PersistentVolumeClaim); isClaim {
				name = resources.ClaimName("demo", i)
			}
			err := s.client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, object)
			if err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
			if gone := err != nil || object.GetDeletionTimestamp() != nil; gone != (i == 1) {
				t.Errorf("%s is deleted: %v", name, gone)
			}
		}
	}
	if n, err := nodes(t)[1].status(); err != nil || n.Role == "leader" {
		t.Errorf("the leader did not hand over: %+v, %v", n, err)
	}
}

func TestLogsAreMerged(t *testing.T) {
	s := newStage(t)
	s.logs = map[string]string{
		"demo-0": "2026-01-01T00:00:01.5Z a\n2026-01-01T00:00:04Z {\"msg\":\"d\"}\n", "demo-1": "2026-01-01T00:00:02Z b\n", "demo-2": "2026-01-01T00:00:03Z c\nmore of c\n",
	}
	if out := s.ok("logs", "demo"); out != "demo-0  a\ndemo-1  b\ndemo-2  c\ndemo-2  more of c\ndemo-0  {\"msg\":\"d\"}\n" {
		t.Errorf("logs say\n%s", out)
	}
	if out := s.ok("logs", "demo", "-o", "json"); !strings.HasSuffix(out, `{"pod":"demo-0","time":"2026-01-01T00:00:04Z","log":{"msg":"d"}}`+"\n") {
		t.Errorf("logs in JSON say\n%s", out)
	}

	// A stream that ends, as when a container is restarted, is opened again and goes on.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	f := follow(t, nil, "--kubeconfig", s.config, "--timeout=60s", "logs", "demo", "--follow")
	for _, want := range []string{"demo-0  a", "demo-1  b", "demo-2  c", "demo-2  more of c", `demo-0  {"msg":"d"}`} {
		if got := f.line(); got != want {
			t.Errorf("followed: %q, want %q", got, want)
		}
	}
	s.mu.Lock()
	s.logs["demo-1"] += "2026-01-01T00:00:09Z e\n"
	s.mu.Unlock()
	if got := f.line(); got != "demo-1  e" {
		t.Errorf("what came later: %q", got)
	}
	// A pod that is new is followed from its first line.
	s.mu.Lock()
	s.logs["demo-3"] = "2026-01-01T00:00:10Z f\n"
	s.mu.Unlock()
	s.addPod(3)
	if got := f.line(); got != "demo-3  f" {
		t.Errorf("of a new pod: %q", got)
	}
	f.stop()
	if code := <-f.code; code != ExitOK || ctx.Err() != nil {
		t.Errorf("logs that are stopped end with %d: %s", code, f.err)
	}
}

func TestAKubernetesWithoutRaftClusters(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: " + server.URL + "}}]\ncontexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"list", "status demo", "put a b --cluster demo"} {
		if said := (with{}).run(t.Context(), append([]string{"--kubeconfig", path}, strings.Fields(line)...)...); said.code != ExitFailed || !strings.Contains(said.err, "install the operator first") {
			t.Errorf("%s: %+v", line, said)
		}
	}
	if said := (with{}).run(t.Context(), "--kubeconfig", path+"x", "list"); said.code != ExitFailed || !strings.Contains(said.err, "--kubeconfig") {
		t.Errorf("no kubeconfig: %+v", said)
	}
}
