//go:build linux && scale

package scale

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// operatorUser is whom the API server takes the operator for, by its certificate.
const operatorUser = "raftkv-operator"

// auditPolicy has the API server write down each request of the operator, once it was answered, and nobody else's.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [` + operatorUser + `]
- level: None
`

// request is what the audit log says of one.
type request struct {
	Stage     string `json:"stage"`
	Verb      string `json:"verb"`
	ObjectRef *struct {
		Resource, Subresource, Namespace, Name string
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

func (r *request) writes() bool {
	switch r.Verb {
	case "get", "list", "watch":
		return false
	}
	return true
}

// of gives the cluster that the request is about; empty if it is about none, such as a watch or the operator's own lease.
func (r *request) of() string {
	if r.ObjectRef == nil || !strings.HasPrefix(r.ObjectRef.Name, claimPrefix+clusterPrefix) && !strings.HasPrefix(r.ObjectRef.Name, clusterPrefix) {
		return ""
	}
	name := strings.TrimPrefix(r.ObjectRef.Name, claimPrefix)
	return name[:min(len(name), len(clusterName(0)))]
}

func (r *request) what() string {
	if r.ObjectRef == nil {
		return r.Verb
	}
	what := r.Verb + " " + r.ObjectRef.Resource
	if r.ObjectRef.Subresource != "" {
		what += "/" + r.ObjectRef.Subresource
	}
	if code := r.ResponseStatus.Code; code >= 400 {
		what += fmt.Sprintf(" (%d)", code)
	}
	return what
}

// audit reads the log from where it stopped last.
type audit struct {
	path   string
	offset int64
}

// tally is what the operator asked of the API server.
type tally struct {
	writes, reads int
	// perCluster are the writes about each cluster, and cluster the requests of all kinds about any.
	perCluster map[string]int
	ofClusters int
	kinds      map[string]int
}

// take counts what was written since the last time.
func (a *audit) take(t *testing.T) *tally {
	t.Helper()
	f, err := os.Open(a.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || info.Size() < a.offset {
		t.Fatalf("the audit log was begun anew, and requests are lost to the count: %v", err)
	}
	if _, err := f.Seek(a.offset, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	sum := &tally{perCluster: map[string]int{}, kinds: map[string]int{}}
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF { // a line that is not whole yet is read the next time
			return sum
		}
		if err != nil {
			t.Fatal(err)
		}
		a.offset += int64(len(line))
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("audit log: %v in %q", err, line)
		}
		// A watch is noted when it begins and when it ends, and is one request.
		if r.Stage == "ResponseComplete" && r.Verb == "watch" {
			continue
		}
		sum.kinds[r.what()]++
		cluster := r.of()
		if cluster != "" {
			sum.ofClusters++
		}
		if !r.writes() {
			sum.reads++
			continue
		}
		sum.writes++
		if cluster != "" {
			sum.perCluster[cluster]++
		}
	}
}

// most is the cluster with the most writes, and how many.
func (s *tally) most() (cluster string, writes int) {
	for name, n := range s.perCluster {
		if n > writes || n == writes && name < cluster {
			cluster, writes = name, n
		}
	}
	return cluster, writes
}

func (s *tally) median() int {
	all := slices.Sorted(maps.Values(s.perCluster))
	if len(all) == 0 {
		return 0
	}
	return all[len(all)/2]
}

// String is the kinds of requests, the most frequent first.
func (s *tally) String() string {
	kinds := slices.Collect(maps.Keys(s.kinds))
	slices.SortFunc(kinds, func(a, b string) int { return s.kinds[b] - s.kinds[a] })
	var b strings.Builder
	for _, kind := range kinds {
		fmt.Fprintf(&b, "%8d  %s\n", s.kinds[kind], kind)
	}
	return b.String()
}

// add takes the counts of another tally to this one's.
func (s *tally) add(o *tally) {
	s.writes, s.reads, s.ofClusters = s.writes+o.writes, s.reads+o.reads, s.ofClusters+o.ofClusters
	for cluster, n := range o.perCluster {
		s.perCluster[cluster] += n
	}
	for kind, n := range o.kinds {
		s.kinds[kind] += n
	}
}
