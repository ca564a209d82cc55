package lease

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
)

const s = time.Second

func granted(id kv.LeaseID, ttl int64) kv.LeaseChange {
	return kv.LeaseChange{Event: kv.LeaseGranted, Lease: kv.Lease{ID: id, TTL: ttl, Renewed: 1}}
}

func ids(leases []kv.Lease) string {
	var out []kv.LeaseID
	for _, l := range leases {
		out = append(out, l.ID)
	}
	return fmt.Sprint(out)
}

func TestLeasesEndInTheirOrder(t *testing.T) {
	d := New()
	d.Note(granted(1, 10), 0)
	d.Note(granted(2, 5), 0)
	d.Note(granted(3, 5), 0)
	if got := ids(d.Due(5*s-1, 10)); got != "[]" {
		t.Error(got)
	}
	if next, ok := d.Next(); !ok || next != 5*s {
		t.Error(next, ok)
	}
	if got := ids(d.Due(5*s, 1)); got != "[2]" {
		t.Error(got)
	}
	if got := ids(d.Due(5*s, 10)); got != "[3]" {
		t.Error(got)
	}
	if got := ids(d.Due(5*s+RetryAfter, 10)); got != "[2 3]" {
		t.Error("what was not revoked is told again:", got)
	}
	if left, ok := d.Remaining(2, 6*s); !ok || left != -s {
		t.Error("telling of it does not move its end:", left)
	}
}

func TestRenewalBeginsTheTimeAnew(t *testing.T) {
	d := New()
	d.Note(granted(1, 10), 0)
	d.Due(10*s, 1)
	d.Note(kv.LeaseChange{Event: kv.LeaseRenewed, Lease: kv.Lease{ID: 1, TTL: 10, Renewed: 9}}, 11*s)
	if got := d.Due(21*s-1, 1); len(got) != 0 {
		t.Error(got)
	}
	if got := d.Due(21*s, 1); len(got) != 1 || got[0].Renewed != 9 {
		t.Error("the revocation must name the renewal that it knows of:", got)
	}
}

func TestANewLeaderExtends(t *testing.T) {
	d := New()
	d.Note(granted(1, 10), 0)
	d.Note(granted(2, 3600), 0)
	d.Note(granted(3, 3600), 3000*s)
	d.Extend(3500 * s)
	for id, want := range map[kv.LeaseID]time.Duration{1: 10 * s, 2: MaxExtension, 3: 3100 * s} {
		if left, _ := d.Remaining(id, 3500*s); left != want {
			t.Errorf("lease %d has %v left, want %v", id, left, want)
		}
	}
}

func TestAVeryLongLeaseDoesNotEndAtOnce(t *testing.T) {
	d := New()
	d.Note(granted(1, kv.MaxLeaseTTL), 1000*s)
	if left, _ := d.Remaining(1, 1000*s); left < 100*365*24*time.Hour {
		t.Error(left)
	}
}

// TestDeadlinesAgainstAMap compares with the plainest way to keep deadlines.
func TestDeadlinesAgainstAMap(t *testing.T) {
	type plain struct {
		ttl, deadline, due time.Duration
	}
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 2))
		d, model := New(), map[kv.LeaseID]*plain{}
		var now time.Duration
		for step := range 500 {
			now += time.Duration(random.IntN(2000)) * time.Millisecond
			id, ttl := kv.LeaseID(random.IntN(12)), int64(1+random.IntN(20))
			l := kv.Lease{ID: id, TTL: ttl}
			x := model[id]
			switch random.IntN(6) {
			case 0, 1:
				if x != nil {
					l.TTL = int64(x.ttl / s)
					d.Note(kv.LeaseChange{Event: kv.LeaseRenewed, Lease: l}, now)
					x.deadline, x.due = now+x.ttl, now+x.ttl
				} else {
					d.Note(granted(id, ttl), now)
					end := now + time.Duration(ttl)*s
					model[id] = &plain{time.Duration(ttl) * s, end, end}
				}
			case 2:
				d.Note(kv.LeaseChange{Event: kv.LeaseRevoked, Lease: l}, now)
				delete(model, id)
			case 3:
				if random.IntN(10) > 0 {
					continue
				}
				d.Extend(now)
				for _, x := range model {
					x.deadline = max(x.deadline, now+x.ttl)
					x.due = x.deadline
				}
			default:
				var want []kv.LeaseID
				for id, x := range model {
					if x.due <= now {
						want = append(want, id)
					}
				}
				sort.Slice(want, func(i, j int) bool {
					a, b := model[want[i]], model[want[j]]
					return a.due < b.due || a.due == b.due && want[i] < want[j]
				})
				want = want[:min(len(want), 3)]
				if got := ids(d.Due(now, 3)); got != fmt.Sprint(want) {
					t.Fatalf("seed %d, step %d: due %s, want %v", seed, step, got, want)
				}
				for _, id := range want {
					model[id].due = now + RetryAfter
				}
			}
			if d.Len() != len(model) {
				t.Fatalf("seed %d, step %d: %d leases, want %d", seed, step, d.Len(), len(model))
			}
		}
	}
}
