package nodes

import (
	"time"

	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

const (
	// idleTimeout is after how long a silent node counts as not answering, pingInterval how often a quiet one is asked, and asks. Both
	// are generous: at rest the stream is to cost almost nothing (thousands of nodes are a tenth of a core at 4 s), a lost leader is noticed by its
	// followers' answers, and whatever is planned is planned on nodes that are asked anew.
	idleTimeout  = 30 * time.Second
	pingInterval = 10 * time.Second
	// connectWait bounds how long a call waits for a connection.
	connectWait = time.Second
	// readBufferBytes is room for most statuses: a connection says little, and there is one for every pod.
	readBufferBytes = 1 << 10
)

// Dial gives the admin service of the node at that address, and what closes the connection. It does not wait for the node.
type Dial func(address, token string) (admin.Service, func(), error)

// DialRPC is Dial over the node's peer port.
func DialRPC(address, token string) (admin.Service, func(), error) {
	peer := rpc.NewPeer(rpc.PeerOptions{
		Address: address,
		Client: rpc.ClientOptions{
			Metadata:        rpc.Metadata{admin.MetadataToken: token},
			PingInterval:    pingInterval,
			IdleTimeout:     idleTimeout,
			ReadBufferBytes: readBufferBytes,
		},
		ConnectWait: connectWait,
	})
	var s admin.Service
	if err := rpc.Bind(peer, admin.ServiceName, &s); err != nil {
		_ = peer.Close()
		return admin.Service{}, nil, err
	}
	return s, func() { _ = peer.Close() }, nil
}
