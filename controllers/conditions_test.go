package controllers

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

func TestStatesThatDifferDegradeAClusterThatLooksWell(t *testing.T) {
	status := &v1.RaftClusterStatus{ClusterID: "1", Leader: &v1.LeaderStatus{Name: "demo-0"}}
	members := []admin.MemberStatus{{Member: raft.Member{ID: 3, Name: "demo-2"}}}
	for name, r := range map[string]struct {
		node admin.Status
		want string
	}{
		"well":           {admin.Status{Members: members}, ""},
		"full":           {admin.Status{Members: members, Alarms: []admin.Alarm{{Member: 3, Type: "NOSPACE"}}}, ""},
		"one differs":    {admin.Status{Members: members, Alarms: []admin.Alarm{{Member: 3, Type: "CORRUPT"}}}, "member demo-2 differs"},
		"nobody can say": {admin.Status{Members: members, Alarms: []admin.Alarm{{Type: "CORRUPT"}}}, "nobody can tell"},
		"fenced":         {admin.Status{Fenced: "its state differs at index 7"}, "pod demo-0 was fenced and begins anew: its state differs at index 7"},
	} {
		o := &plan.Observation{Cluster: "demo", Desired: 1, Pods: []plan.Pod{{Name: "demo-0", Ready: true, Node: &r.node}, {Name: "demo-1", Ready: true, Ordinal: 1, Node: &r.node}}}
		c := degraded(o, &plan.Decision{}, status)
		if (c.Status == metav1.ConditionTrue) != (r.want != "") || !strings.Contains(c.Message, r.want) || (r.want != "" && c.Reason != "StatesDiffer") {
			t.Errorf("%s: got %+v", name, c)
		}
	}
}
