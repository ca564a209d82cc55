package server

import (
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/etcd"
)

// readyLine is what scripts and test drivers that were written for etcd wait for.
const readyLine = "ready to serve client requests"

// newEtcd makes the front end of the etcd v3 API.
func (n *node) newEtcd() *etcd.Server {
	return etcd.New(n.service, n.cluster, etcd.Options{
		MaxRequestBytes: n.cfg.MaxRequestBytes, ElectionTimeout: n.cfg.ElectionTimeout, Managed: n.cfg.AdminTokenFile != "",
	})
}

// service is the whole store of this life's member, nil if there is none.
func (n *node) service() backend.Store {
	if m := n.member.Load(); m != nil {
		return m.Store()
	}
	return nil
}

func (n *node) cluster() etcd.Cluster {
	if r := n.replica.Load(); r != nil && n.member.Load() != nil {
		return cluster{r}
	}
	return nil
}
