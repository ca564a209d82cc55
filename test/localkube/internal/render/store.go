package render

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
)

// Store names what the API server keeps its objects in.
type Store string

const (
	// StoreRaftkv is three members of raftkv, of the checkout that localkube is from.
	StoreRaftkv Store = "raftkv"
	// StoreEtcd is one member of etcd, of a program that the machine has. It is for comparing.
	StoreEtcd Store = "etcd"
)

// Stores are all that there are, the usual one first.
var Stores = []Store{StoreRaftkv, StoreEtcd}

// ParseStore finds a store by its name.
func ParseStore(name string) (Store, error) {
	if i := slices.Index(Stores, Store(name)); i >= 0 {
		return Stores[i], nil
	}
	return "", fmt.Errorf("there is no store %q; there are %s and %s", name, StoreRaftkv, StoreEtcd)
}

const (
	// storeMembers is as many as it takes for one of them to be lost without a pause.
	storeMembers = 3
	// The ports of the first member, and how far apart those of two are. They are on the loopback of a namespace that only root can
	// enter, so the store needs no certificates.
	storeClientPort  = 2379
	storePeerPort    = 2380
	storeMetricsPort = 2381
	storePortStep    = 100
)

// StoreProgramNames are the programs of the control plane that are its store.
func StoreProgramNames(s Store) []string {
	if s == StoreEtcd {
		return []string{"etcd"}
	}
	var names []string
	for i := range storeMembers {
		names = append(names, storeName(i))
	}
	return names
}

func storeName(i int) string { return fmt.Sprintf("store-%d", i+1) }

func storeURL(port, i int) string { return fmt.Sprintf("http://127.0.0.1:%d", port+i*storePortStep) }

// storePrograms are the processes of the store, in the order they start.
func storePrograms(p plan.Plan, b Build) []member.Program {
	if b.Store == StoreEtcd {
		return []member.Program{etcdProgram(p, b)}
	}
	var cluster []string
	for i := range storeMembers {
		cluster = append(cluster, storeName(i)+"="+storeURL(storePeerPort, i))
	}
	var programs []member.Program
	for i := range storeMembers {
		programs = append(programs, member.Program{
			Name: storeName(i), Path: b.StoreProgram, Args: []string{
				"--name=" + storeName(i), "--data-dir=" + storeDisk(p, storeName(i)),
				"--initial-cluster=" + strings.Join(cluster, ","), "--initial-cluster-token=" + p.Name,
				"--listen-peer-urls=" + storeURL(storePeerPort, i), "--listen-client-urls=" + storeURL(storeClientPort, i),
				"--listen-metrics-urls=" + storeURL(storeMetricsPort, i),
				// The API server says itself which history it needs no more.
				"--auto-compaction-retention=0",
			},
		})
	}
	// No member is ready before most of them run, so only the last one can be waited for.
	programs[storeMembers-1].Ready = member.Probe{URL: storeURL(storeMetricsPort, storeMembers-1) + "/readyz"}
	return programs
}

// storeURLs are where the API server finds the store.
func storeURLs(s Store) string {
	if s == StoreEtcd {
		return storeURL(storeClientPort, 0)
	}
	var urls []string
	for i := range storeMembers {
		urls = append(urls, storeURL(storeClientPort, i))
	}
	return strings.Join(urls, ",")
}

func storeDisk(p plan.Plan, name string) string { return filepath.Join(p.Disk(plan.ControlName), name) }

// etcdProgram does not wait for the disk: a cluster is made anew rather than recovered after the machine lost power.
func etcdProgram(p plan.Plan, b Build) member.Program {
	client, peer := storeURL(storeClientPort, 0), storeURL(storePeerPort, 0)
	return member.Program{
		Name: "etcd", Path: b.StoreProgram, Args: []string{
			"--name=localkube", "--data-dir=" + storeDisk(p, "etcd"), "--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=localkube=" + peer,
			"--unsafe-no-fsync", "--log-level=warn",
		},
		Ready: member.Probe{URL: client + "/health"},
	}
}
