package member

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/statemachine"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/server/quota"
)

// Restored is a data directory that was made of a snapshot.
type Restored struct {
	Identity identity.Identity
	State    kv.Restored
}

// Restore makes the configuration's data directory that of the only member of a new cluster, with the state of a snapshot file. Nothing may be
// in the directory. After an error nothing is left of it.
func Restore(o Options, file io.Reader, how kv.RestoreOptions) (Restored, error) {
	c := o.Config
	switch {
	case len(c.InitialCluster) > 1:
		return Restored{}, errors.New("a restored cluster begins with this one member, and others are added to it: name only this node in --initial-cluster")
	case c.AdvertisePeer == "":
		return Restored{}, errors.New("the member needs an address for others: give --initial-advertise-peer-urls")
	case how.BumpRevision > 0 && !how.MarkCompacted:
		return Restored{}, errors.New("raising the revisions makes a gap in the history, of which only those are told whose revisions are compacted: mark them so, " +
			"or raise by 0")
	}
	quotaBytes, _ := quota.Of(c.QuotaBackendBytes, c.DataDir) // without the size of the disk, what a larger one has
	var state kv.Restored
	id, err := replica.Found(replica.Foundation{
		Dir: c.DataDir, Name: c.Name, Cluster: drawCluster(), FeatureLevel: FeatureLevel, Logger: o.Logger,
		First: raft.Member{PeerAddress: c.AdvertisePeer, ClientAddress: c.AdvertiseClient},
		OpenMachine: func(p replica.Place) (replica.Machine, error) {
			m, err := kv.Open(kv.Options{
				Dir: filepath.Join(p.Dir, stateDir), ClusterID: p.Cluster, QuotaBytes: quotaBytes, Logger: p.Logger,
			})
			if err != nil {
				return nil, err
			}
			if state, err = m.Restore(file, how); err != nil {
				return nil, errors.Join(err, m.Close())
			}
			return &Machine{StateMachine: statemachine.Of(m), machine: m, damage: newDamageNote(p.Dir, m, p.Logger)}, nil
		},
	})
	if err != nil {
		return Restored{}, fmt.Errorf("restore into %s: %w", c.DataDir, err)
	}
	return Restored{Identity: id, State: state}, nil
}

// Succeed is that of replica.Succeeding: the lost members may have acknowledged, and clients may have seen, revisions that the survivor's log does not
// hold. None of them is given to another write, and whoever goes on from one is told that it was compacted.
func (m *Machine) Succeed() error {
	_, err := m.machine.Succeed(kv.RestoreOptions{BumpRevision: kv.DefaultBumpRevision, MarkCompacted: true})
	return err
}

// drawCluster returns a random number that is not zero.
func drawCluster() raft.ClusterID {
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
		if id := raft.ClusterID(binary.BigEndian.Uint64(b[:])); id != 0 {
			return id
		}
	}
}
