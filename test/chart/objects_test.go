package chart

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// everything asks for all that the chart can make.
var everything = []string{
	"metrics.serviceMonitor.enabled=true", "metrics.prometheusRule.enabled=true", "metrics.dashboard.enabled=true", "metrics.service.annotations.on=off",
	"podLabels.app\\.kubernetes\\.io/name=theirs", "podLabels.team=storage", "podAnnotations.note=mine", "serviceAccount.annotations.role=arn:x",
	"imagePullSecrets[0].name=registry", "priorityClassName=on", "nodeSelector.disk=ssd", "tolerations[0].operator=Exists",
	"topologySpreadConstraints[0].maxSkew=1", "topologySpreadConstraints[0].topologyKey=zone", "topologySpreadConstraints[0].whenUnsatisfiable=ScheduleAnyway",
	"affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1", "extraArgs[0]=--leader-election-namespace=x", "replicas=2",
	"kubeAPI.qps=500", "kubeAPI.burst=1000000", "log.format=text", "resources.limits.cpu=1", "test.storage.storageClassName=no",
}

// objects are what helm renders, each decoded strictly where its type is known here: a label that YAML takes for a number is an error.
func objects(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, document := range strings.Split("\n"+text, "\n---") {
		if _, document, _ = strings.Cut(document, "\n"); strings.TrimSpace(document) == "" {
			continue
		}
		var head struct {
			metav1.TypeMeta `json:",inline"`
			Metadata        metav1.ObjectMeta `json:"metadata"`
		}
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		var into any = &map[string]any{}
		switch head.Kind {
		case "Deployment":
			into = &appsv1.Deployment{}
		case "Service":
			into = &corev1.Service{}
		case "ServiceAccount":
			into = &corev1.ServiceAccount{}
		case "ConfigMap":
			into = &corev1.ConfigMap{}
		case "Pod":
			into = &corev1.Pod{}
		case "Role":
			into = &rbacv1.Role{}
		case "RoleBinding":
			into = &rbacv1.RoleBinding{}
		case "ClusterRole":
			into = &rbacv1.ClusterRole{}
		case "ClusterRoleBinding":
			into = &rbacv1.ClusterRoleBinding{}
		case "RaftCluster":
			into = &v1.RaftCluster{}
		}
		if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
			t.Errorf("%s %s: %v", head.Kind, head.Metadata.Name, err)
		}
		key := strings.Join([]string{head.Kind, head.Metadata.Namespace, head.Metadata.Name}, " ")
		if out[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		out[key] = into
		checkName(t, head.Kind, head.Metadata)
	}
	return out
}

func checkName(t *testing.T, kind string, m metav1.ObjectMeta) {
	t.Helper()
	wrong := validation.IsDNS1123Subdomain(m.Name)
	switch kind {
	case "Service":
		wrong = validation.IsDNS1035Label(m.Name)
	case "RaftCluster":
		if wrong = validation.IsDNS1035Label(m.Name); len(m.Name) > 40 {
			wrong = append(wrong, "it is too long")
		}
	}
	for key, value := range m.Labels {
		wrong = append(wrong, validation.IsQualifiedName(key)...)
		wrong = append(wrong, validation.IsValidLabelValue(value)...)
	}
	if len(wrong) > 0 {
		t.Errorf("%s %s with labels %v: %v", kind, m.Name, m.Labels, wrong)
	}
}

// Releases and namespaces may be called anything that helm and Kubernetes allow: numbers, words that YAML understands otherwise, names with dots, long ones.
func TestReleasesAndNamespacesOfAnyName(t *testing.T) {
	for _, release := range []string{"raftkv", "123", "1e3", "1.2", "true", "null", "a.b-c", strings.Repeat("long-", 10) + "one"} {
		for _, values := range [][]string{{"watchNamespaces=null"}, everything} {
			text, err := renderAs(t, release, "123", values...)
			if err != nil {
				t.Errorf("%s: %s", release, tail(text))
				continue
			}
			all := objects(t, text)
			if len(all) < 8 {
				t.Errorf("%s: only %d objects", release, len(all))
			}
			for key, o := range all {
				d, ok := o.(*appsv1.Deployment)
				if !ok {
					continue
				}
				if selector := d.Spec.Selector.MatchLabels; selector["app.kubernetes.io/instance"] != release || !within(selector, d.Spec.Template.Labels) {
					t.Errorf("%s selects by %v pods with %v", key, selector, d.Spec.Template.Labels)
				}
			}
		}
	}
}

func within(some, all map[string]string) bool {
	for k, v := range some {
		if all[k] != v {
			return false
		}
	}
	return true
}

func TestAllThatIsAskedOfTheOperatorsPodsReachesThem(t *testing.T) {
	text, err := render(t, everything...)
	if err != nil {
		t.Fatal(tail(text))
	}
	d, ok := objects(t, text)["Deployment raftkv-system release-raftkv-operator"].(*appsv1.Deployment)
	if !ok {
		t.Fatal("there is no Deployment")
	}
	pod := d.Spec.Template
	if *d.Spec.Replicas != 2 || pod.Labels["team"] != "storage" || pod.Labels["app.kubernetes.io/name"] != "raftkv-operator" || pod.Annotations["note"] != "mine" ||
		pod.Spec.ImagePullSecrets[0].Name != "registry" || pod.Spec.PriorityClassName != "on" || pod.Spec.NodeSelector["disk"] != "ssd" ||
		len(pod.Spec.Tolerations) != 1 || len(pod.Spec.TopologySpreadConstraints) != 1 || pod.Spec.Affinity == nil {
		t.Errorf("got %+v", pod)
	}
	args := pod.Spec.Containers[0].Args
	for _, want := range []string{"--leader-election-namespace=x", "--kube-api-qps=500", "--kube-api-burst=1000000", "--log-format=text"} {
		if !slices.Contains(args, want) {
			t.Errorf("no argument %s in %v", want, args)
		}
	}
}

// Operators that are confined to namespaces may share a release's name, or the namespace that they run in: nothing that they make may be called alike, nor the lease by which
// each works, or one of them would wait for the other for ever.
func TestOperatorsOfSeveralNamespacesDoNotMeet(t *testing.T) {
	seen := map[string]string{}
	for _, x := range []struct{ release, namespace, watched string }{{"raftkv", "one", "one"}, {"raftkv", "two", "two"}, {"team", "one", "three"}} {
		text, err := renderAs(t, x.release, x.namespace, "crds.enabled=false", fmt.Sprintf("watchNamespaces={%s}", x.watched))
		if err != nil {
			t.Fatal(tail(text))
		}
		leases := 0
		keys := map[string]bool{}
		for key, o := range objects(t, text) {
			keys[key] = true
			if d, ok := o.(*appsv1.Deployment); ok {
				for _, arg := range d.Spec.Template.Spec.Containers[0].Args {
					if name, ok := strings.CutPrefix(arg, "--leader-election-id="); ok {
						leases++
						keys["Lease "+x.namespace+" "+name] = true
					}
				}
			}
		}
		if leases != 1 {
			t.Errorf("release %s in %s names %d leases", x.release, x.namespace, leases)
		}
		for key := range keys {
			if other := seen[key]; other != "" {
				t.Errorf("the operators of namespaces %s and %s both have %s", other, x.watched, key)
			}
			seen[key] = x.watched
		}
	}
}

func TestHelmFindsNothingToComplainOf(t *testing.T) {
	if text, err := exec.Command(helm(t), "lint", "--strict", filepath.Join(root, "charts", "raftkv")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// leaves are the values that have no values below them, by their paths, and whether a comment stands right above them, or above what they are part of.
func leaves(t *testing.T) map[string]bool {
	t.Helper()
	line := regexp.MustCompile(`^( *)([A-Za-z_]+):(.*)$`)
	type block struct {
		indent    int
		path      string
		commented bool
	}
	var open []block
	out, comment := map[string]bool{}, false
	parts := map[string]bool{}
	for text := range strings.Lines(string(read(t, filepath.Join(root, "charts", "raftkv", "values.yaml")))) {
		text = strings.TrimRight(text, "\n")
		m := line.FindStringSubmatch(text)
		if m == nil {
			comment = strings.HasPrefix(strings.TrimSpace(text), "# --") || comment && strings.HasPrefix(strings.TrimSpace(text), "#")
			continue
		}
		for len(open) > 0 && open[len(open)-1].indent >= len(m[1]) {
			open = open[:len(open)-1]
		}
		b := block{indent: len(m[1]), path: m[2], commented: comment}
		if len(open) > 0 {
			above := open[len(open)-1]
			b.path, b.commented = above.path+"."+b.path, b.commented || above.commented
			parts[above.path] = true
		}
		open, comment = append(open, b), false
		out[b.path] = b.commented
	}
	for path := range parts {
		delete(out, path)
	}
	return out
}

func TestEachValueIsUsedAndSaysWhatItIs(t *testing.T) {
	var templates strings.Builder
	err := filepath.WalkDir(filepath.Join(root, "charts", "raftkv", "templates"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			templates.Write(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	used := templates.String()
	all := leaves(t)
	if len(all) < 40 {
		t.Fatalf("only %d values were found", len(all))
	}
	for path, commented := range all {
		if !commented {
			t.Errorf("nothing says what %s is", path)
		}
		// Some are given on with what they are part of: .Values.image to what makes a reference, .Values.metrics as $m.
		names := []string{".Values." + path}
		if inside, ok := strings.CutPrefix(path, "metrics."); ok {
			names = append(names, "$m."+inside)
		}
		for _, whole := range []string{"image", "nodeImage", "resources", "metrics.dashboard.labels"} {
			if strings.HasPrefix(path, whole+".") {
				names = append(names, ".Values."+whole, "$m."+strings.TrimPrefix(whole, "metrics."))
			}
		}
		if !slices.ContainsFunc(names, func(name string) bool { return regexp.MustCompile(regexp.QuoteMeta(name) + `\b`).MatchString(used) }) {
			t.Errorf("no template uses %s", path)
		}
	}
}
