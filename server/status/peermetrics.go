package status

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/rpc"
)

// Peers is what the metrics of the connections between members are read from.
type Peers interface {
	// Stats are those of the transport.
	Stats() transport.Stats
	// Served are the calls that this node answers on its peer port.
	Served() rpc.CallStats
}

var (
	descPeerConnected    = describe("peer_connected", "1 if the control connection to the peer stands.", "peer")
	descPeerRTT          = describe("peer_round_trip_seconds", "Round-trip time to the peer.", "peer")
	descPeerWaiting      = describe("peer_waiting_messages", "Messages to the peer that wait to be sent.", "peer")
	descPeerWaitingBytes = describe("peer_waiting_bytes", "Their bytes, about.", "peer")
	descPeerSent         = describe("peer_sent_messages_total", "Messages sent to the peer.", "peer")
	descPeerSentBytes    = describe("peer_sent_bytes_total", "Bytes sent to the peer, about.", "peer")
	descPeerDropped      = describe("peer_dropped_messages_total", "Messages to the peer that were dropped.", "peer")
	descPeerConnects     = describe("peer_connects_total", "Control connections made to the peer.", "peer")
	descPeerRefusals     = describe("peer_refusals_total", "Connections that the peer refused.", "peer")
	descReceived         = describe("peer_received_messages_total", "Messages received from all peers.")
	descRejected         = describe("peer_rejected_messages_total", "Messages to unknown members, or from a false sender.")

	descMessages = describe("raft_messages_total", "Raft's messages by type and what became of them. They are one-way: one that was sent may still be lost.", "type", "result")

	descSnapshotBytes         = describe("snapshot_transfer_bytes", "What has come over of a snapshot that is on its way.", "peer", "direction")
	descSnapshotTotalBytes    = describe("snapshot_transfer_expected_bytes", "About what it takes in all; 0 if that is not known.", "peer", "direction")
	descSnapshotRate          = describe("snapshot_transfer_bytes_per_second", "Its rate since it began.", "peer", "direction")
	descSnapshotSentBytes     = describe("snapshot_sent_bytes_total", "Bytes of snapshots sent to the peer.", "peer")
	descSnapshotReceivedBytes = describe("snapshot_received_bytes_total", "Bytes of snapshots received.")
	descSnapshotsReceived     = describe("snapshots_received_total", "Snapshots that came from a leader, by what became of them.", "result")
	descSnapshotsResumed      = describe("snapshots_resumed_total", "How often a snapshot went on over a new connection.", "direction")

	descCalls       = describe("rpc_calls_total", "Calls between members by method, the side that this node was on, and result.", "side", "method", "result")
	descCallSeconds = describe("rpc_call_duration_seconds", "Time that a call took.", "side", "method")
	descCallsNow    = describe("rpc_calls_in_flight", "Calls that are under way.", "side", "method")
	descConnections = describe("rpc_connections", "Connections between members.", "side")
	descRPCRead     = describe("rpc_read_bytes_total", "Bytes read from connections between members.", "side")
	descRPCWritten  = describe("rpc_written_bytes_total", "Bytes written to connections between members.", "side")
	descFrames      = describe("rpc_queued_frames", "Frames that wait to be written.", "side")
	descQueuedCalls = describe("rpc_queued_calls", "Calls that wait for a handler.", "side")
)

func collectPeers(s transport.Stats, now time.Time, gauge gaugeFunc, counter counterFunc) {
	counter(descReceived, s.Received)
	counter(descRejected, s.Rejected)
	for _, p := range s.Peers {
		id := p.ID.String()
		gauge(descPeerConnected, number(p.Connected), id)
		gauge(descPeerRTT, p.RTT.Seconds(), id)
		gauge(descPeerWaiting, float64(p.Waiting), id)
		gauge(descPeerWaitingBytes, float64(p.WaitingBytes), id)
		counter(descPeerSent, p.Sent, id)
		counter(descPeerSentBytes, p.SentBytes, id)
		counter(descPeerDropped, p.Dropped, id)
		counter(descPeerConnects, p.Connects, id)
		counter(descPeerRefusals, p.Refusals, id)
		counter(descSnapshotSentBytes, p.SnapshotBytes, id)
	}
	for _, k := range s.Kinds {
		counter(descMessages, k.Sent, k.Type.String(), "sent")
		counter(descMessages, k.Dropped, k.Type.String(), "dropped")
		counter(descMessages, k.Received, k.Type.String(), "received")
	}
	counter(descSnapshotReceivedBytes, s.SnapshotBytesReceived)
	counter(descSnapshotsReceived, s.SnapshotsReceived, "received")
	counter(descSnapshotsReceived, s.SnapshotsGivenUp, "given-up")
	counter(descSnapshotsResumed, s.SnapshotsResumed, "in")
	resumed := uint64(0)
	for _, p := range s.Peers {
		resumed += p.SnapshotsResumed
	}
	counter(descSnapshotsResumed, resumed, "out")
	for i := range s.Snapshots {
		x := &s.Snapshots[i]
		direction := "out"
		if x.Incoming {
			direction = "in"
		}
		gauge(descSnapshotBytes, float64(x.Bytes), x.Peer.String(), direction)
		gauge(descSnapshotTotalBytes, float64(x.TotalBytes), x.Peer.String(), direction)
		gauge(descSnapshotRate, float64(x.BytesPerSecond(now)), x.Peer.String(), direction)
	}
}

// collectCalls tells of the calls that this node has made ("client") or answered ("server").
func collectCalls(side string, s rpc.CallStats, out chan<- prometheus.Metric, gauge gaugeFunc, counter counterFunc) {
	gauge(descConnections, float64(s.Connections), side)
	counter(descRPCRead, s.BytesRead, side)
	counter(descRPCWritten, s.BytesWritten, side)
	gauge(descFrames, float64(s.QueuedFrames), side)
	gauge(descQueuedCalls, float64(s.QueuedCalls), side)
	for i := range s.Methods {
		m := &s.Methods[i]
		counter(descCalls, m.Successes, side, m.Method, "success")
		counter(descCalls, m.Failures, side, m.Method, "failure")
		if m.OneWay {
			continue
		}
		gauge(descCallsNow, float64(m.Running), side, m.Method)
		buckets, count := map[float64]uint64{}, uint64(0)
		for b, n := range m.Latency.Buckets {
			count += n
			if bound := rpc.LatencyBound(b); bound != 0 {
				buckets[bound.Seconds()] = count
			}
		}
		out <- prometheus.MustNewConstHistogram(descCallSeconds, count, m.Latency.Sum.Seconds(), buckets, side, m.Method)
	}
}
