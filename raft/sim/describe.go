package sim

import (
	"fmt"
	"strings"

	"github.com/raftkv/raftkv/raft"
)

// describe writes a message for a person to read.
func describe(m raft.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s->%s term %d", m.Type, m.From, m.To, m.Term)
	if m.Index != 0 || m.LogTerm != 0 {
		fmt.Fprintf(&b, " at %d/%d", m.Index, m.LogTerm)
	}
	if m.Commit != 0 {
		fmt.Fprintf(&b, " commit %d", m.Commit)
	}
	if m.Context != 0 {
		fmt.Fprintf(&b, " context %d", m.Context)
	}
	if m.Reject {
		fmt.Fprintf(&b, " REJECT hint %d", m.Hint)
	}
	if m.Transfer {
		b.WriteString(" (transfer)")
	}
	if n := len(m.Entries); n > 0 {
		fmt.Fprintf(&b, " entries %d..%d/%d", m.Entries[0].Index, m.Entries[n-1].Index, m.Entries[n-1].Term)
	}
	return b.String()
}
