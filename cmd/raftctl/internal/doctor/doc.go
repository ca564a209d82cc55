// Package doctor says what is wrong with a RaftCluster and what to do about it. Diagnose is a pure decider over one cluster.Observation: conditions,
// pods, claims, events and what the nodes say of themselves. It promises that whatever keeps the cluster from being as its spec asks is named, the
// worst first, each with a next step that can be typed; and that a healthy cluster gives no finding but remarks. It changes nothing.
package doctor
