//go:build linux && scale

package scale

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

// fleet serves the node API of every pod, at the pod's own address, behind the admin token of its cluster.
type fleet struct {
	c      client.Client
	tokens string // folder of the tokens, one file for each cluster

	mu      sync.Mutex
	groups  map[types.NamespacedName]*group
	serving map[types.UID]bool
	err     error
	running sync.WaitGroup
	servers []*rpc.Server
}

func newFleet(c client.Client, folder string) *fleet {
	return &fleet{c: c, tokens: folder, groups: map[types.NamespacedName]*group{}, serving: map[types.UID]bool{}}
}

// see starts the node of a pod that runs.
func (f *fleet) see(p *corev1.Pod) {
	if p.Status.PodIP == "" || p.Labels[resources.LabelName] != resources.Name {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.serving[p.UID] {
		return
	}
	f.serving[p.UID] = true
	cluster := types.NamespacedName{Namespace: p.Namespace, Name: p.Labels[resources.LabelInstance]}
	g := f.groups[cluster]
	if g == nil {
		g = newGroup()
		f.groups[cluster] = g
	}
	n := g.add(p.Name)
	address := net.JoinHostPort(p.Status.PodIP, strconv.Itoa(resources.PeerPort))
	f.running.Go(func() {
		if err := f.serve(cluster, n, address); err != nil {
			f.mu.Lock()
			f.err = errors.Join(f.err, fmt.Errorf("node of pod %s: %w", n.name, err))
			f.mu.Unlock()
		}
	})
}

func (f *fleet) serve(cluster types.NamespacedName, n *node, address string) error {
	token, err := f.token(cluster)
	if err != nil {
		return err
	}
	server := rpc.NewServer(rpc.ServerOptions{})
	if err := admin.Register(server, n, n.board, token); err != nil {
		return err
	}
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.servers = append(f.servers, server)
	f.mu.Unlock()
	if err := server.Serve(l); !errors.Is(err, rpc.ErrServerClosed) {
		return err
	}
	return nil
}

// token mounts the cluster's Secret, as a kubelet does.
func (f *fleet) token(cluster types.NamespacedName) (string, error) {
	path := filepath.Join(f.tokens, cluster.Namespace+"_"+cluster.Name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var secret corev1.Secret
	key := client.ObjectKey{Namespace: cluster.Namespace, Name: resources.AdminTokenSecretName(cluster.Name)}
	if err := f.c.Get(ctx, key, &secret); err != nil {
		return "", fmt.Errorf("mount the admin token: %w", err)
	}
	// Nodes of one cluster may write it at the same time: each sees all of it or nothing.
	part, err := os.CreateTemp(f.tokens, "part-")
	if err != nil {
		return "", err
	}
	_, err = part.Write(secret.Data[resources.AdminTokenKey])
	if err := errors.Join(err, part.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(part.Name(), path)
}

// group gives the group of a cluster.
func (f *fleet) group(cluster types.NamespacedName) *group {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.groups[cluster]
}

// close ends all nodes.
func (f *fleet) close() {
	f.mu.Lock()
	servers := f.servers
	f.mu.Unlock()
	for _, s := range servers {
		_ = s.Close()
	}
	f.running.Wait()
}

// failed says what went wrong with any node.
func (f *fleet) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
