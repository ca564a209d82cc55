// Package core measures the consensus core beside etcd's: both as three members in one goroutine, whose stores complete at once,
// so that a benchmark shows what consensus itself costs. One operation of a benchmark is one proposal of that many entries,
// stored, committed and applied by all three; the figures are per entry.
//
// It says nothing about disks, sockets or the number of goroutines: the program in the folder above measures the whole store.
package core
