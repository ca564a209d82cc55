// Package command is raftctl's command line: one file for each command, or for each group of them. A command reads its words, asks the Go client or
// package cluster, and hands what came to package output; it decides nothing else. The package promises the exit codes of this file, that an error
// says what to do next, and that each command has a help text with examples. docs/reference/raftctl.md is made from these texts.
package command

// Exit codes of raftctl.
const (
	// ExitOK: done.
	ExitOK = 0
	// ExitFailed: not done, and surely without effect unless the text says otherwise.
	ExitFailed = 1
	// ExitUsage: the command line makes no sense; nothing was done.
	ExitUsage = 2
	// ExitUnknown: nobody knows whether it was done; at most once.
	ExitUnknown = 3
	// ExitNotFound: the key, lease, member or cluster that was named does not exist.
	ExitNotFound = 4
)

// exitCodes explains them, for help texts.
const exitCodes = `Exit codes:
  0  done
  1  failed, surely without effect unless the text says otherwise; health and doctor: something is wrong
  2  the command line makes no sense, nothing was done
  3  the outcome is unknown: it was done at most once, or not at all
  4  the key, lease, member or cluster that was named does not exist`
