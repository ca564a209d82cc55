// Package member runs one member of a cluster, the control plane or a node, as a small machine of its own: an init
// process in new process, mount, network, host-name and IPC namespaces that starts the member's programs in order,
// starts them again when they end, and reaps what they leave.
//
// The kernel does the cleaning: when the init process is killed, all processes of its namespace die with it, its mounts
// are undone and its network interfaces vanish. So a member is in one of two states, there or not, whatever was killed
// and when, and killing it is the power loss that tests need. A member is found by a mark in its init process's
// environment, never by a number kept in a file, so no other process can be taken for it.
//
// Of the machine's own state a member changes its cgroups only. The settings of the kernel that a kubelet insists on
// are shown to it by files laid over them.
package member
