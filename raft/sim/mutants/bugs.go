package main

// bug is a mistake: replacements in one file of the module, each of text that occurs there exactly once.
type bug struct {
	name  string
	file  string
	edits []edit
}

type edit struct{ find, replace string }

func one(name, file, find, replace string) bug {
	return bug{name, file, []edit{{find, replace}}}
}

// bugs are grouped by what they break.
var bugs = []bug{
	// Elections
	one("vote not persisted", "raft/effects.go",
		"r.HardState = &HardState{c.term, c.vote}", "r.HardState = &HardState{Term: c.term}"),
	one("term and vote never persisted", "raft/effects.go",
		"r.HardState = &HardState{c.term, c.vote}", ""),
	one("messages leave before term and vote are stored", "raft/effects.go",
		"if need > c.storedSeq {\n\t\tc.gate(", "if false {\n\t\tc.gate("),
	one("vote granted to a shorter log", "raft/election.go",
		"(m.LogTerm == last.Term && m.Index >= last.Index)", "m.LogTerm == last.Term"),
	one("vote granted to the longer log, whatever its term", "raft/election.go",
		"upToDate := m.LogTerm > last.Term || (m.LogTerm == last.Term && m.Index >= last.Index)", "upToDate := m.Index >= last.Index"),
	one("two votes in a term", "raft/election.go",
		"free = c.vote == m.From || (c.vote == 0 && c.leader == 0)", "free = true"),
	one("half of the voters are a quorum", "raft/quorum/quorum.go",
		"return n/2 + 1", "return (n + 1) / 2"),
	one("messages of an old term are obeyed", "raft/core.go",
		"\t\tc.answerOldTerm(m)\n\t\treturn nil\n", "\t\tc.answerOldTerm(m)\n"),
	one("no first entry of a term", "raft/election.go",
		"\tc.appendOwn(Entry{Type: EntryEmpty})\n", ""),

	// Replication and commitment
	one("commit by counting an older term's entries (Figure 8)", "raft/replication.go",
		"!ok || t != c.term {\n\t\treturn", "!ok || t > c.term {\n\t\treturn"),
	one("the leader counts what it has not stored", "raft/core.go",
		"return uint64(c.log.stored)\n\t}\n\treturn c.progress[id].Match", "return uint64(c.log.last().Index)\n\t}\n\treturn c.progress[id].Match"),
	{"ack before fsync", "raft/replication.go", []edit{
		{"if c.verified <= c.log.stored {", "if c.verified > 0 {"},
		{"Index: min(c.verified, c.log.stored)", "Index: c.verified"},
	}},
	one("apply before commit", "raft/effects.go",
		"to := min(c.commit, c.log.stored)", "to := c.log.stored"),
	one("apply before the own disk has it", "raft/effects.go",
		"to := min(c.commit, c.log.stored)", "to := c.commit"),
	one("truncating on a stale append", "raft/replication.go",
		"\t\tif c.log.has(Position{e.Index, e.Term}) {\n\t\t\tcontinue\n\t\t}\n", "\t\t_ = e\n"),
	one("conflicts are not truncated", "raft/replication.go",
		"if c.log.has(Position{e.Index, e.Term}) {\n\t\t\tcontinue", "if e.Index <= c.log.last().Index {\n\t\t\tcontinue"),
	one("the entry before is not compared by term", "raft/replication.go",
		"if !c.log.has(Position{m.Index, m.LogTerm}) {", "if m.Index > c.log.last().Index {"),
	{"commit index past the match", "raft/replication.go", []edit{
		{"min(c.commit, Index(c.progress[id].Match))", "c.commit"},
		{"c.commitTo(m.Commit)", "c.commitTo(min(m.Commit, c.log.last().Index))"},
	}},
	one("what matched in an old term counts in the new one", "raft/election.go",
		"\tc.verified, c.ackPending = 0, false\n", ""),
	one("a stale storage completion after truncation", "raft/log.go",
		"\t\tl.writes[i].last = min(l.writes[i].last, index-1)\n", "\t\t_ = i\n"),
	one("a truncation leaves what was stored", "raft/log.go",
		"\tl.stored = min(l.stored, index-1)\n", ""),
	one("a restarted member takes its whole log for committed", "raft/core.go",
		"c.commit, c.handed, c.applied = at.Index, at.Index, at.Index", "c.commit, c.handed, c.applied = last.Index, at.Index, at.Index"),

	// Reads
	{"ReadIndex without the quorum round", "raft/read.go", []edit{
		{"if c.electorate.isSole(c.id) {", "if c.isVoter {"},
		{"if !c.electorate.hasQuorum(c.acknowledgedRound) {", "if !c.electorate.hasQuorum(c.acknowledgedRound) && false {"},
	}},
	one("ReadIndex before an entry of the term is committed", "raft/read.go",
		" || !c.committedInTerm() {", " {"),
	one("a read joins a round already sent", "raft/read.go",
		"c.reads.waiting = append(c.reads.waiting, r)\n",
		"if len(c.reads.inFlight) > 0 {\n\t\tc.reads.inFlight = append(c.reads.inFlight, r)\n\t\treturn nil\n\t}\n\tc.reads.waiting = append(c.reads.waiting, r)\n"),
	one("stale read from a deposed leader: answers to old rounds count", "raft/read.go",
		"c.progress[id].ReadRound >= c.reads.round", "c.progress[id].ReadRound > 0"),
	one("a read returns the index that was applied", "raft/read.go",
		"r.index = c.commit", "r.index = c.applied"),

	// Leases
	one("lease read after the lease", "raft/lease.go",
		"return c.clock < c.leaseUntil() }", "return c.clock < c.leaseUntil()+uint64(4*c.cfg.ElectionTicks) }"),
	one("a lease allows for no drift of clocks", "raft/lease.go",
		"uint64(100-c.cfg.ClockDriftPercent) / 100", "uint64(100) / 100"),
	one("a promise does not hold back votes", "raft/core.go",
		"&& !m.Transfer && c.withholdsVote():\n\t\treturn nil\n", "&& false:\n\t\treturn nil\n"),
	one("a member that starts forgets what it promised", "raft/core.go",
		"\t\t\tc.quietUntil = max(c.quietUntil, uint64(cfg.ElectionTicks)+1)\n", ""),
	one("a leader that hands over keeps its lease", "raft/election.go",
		"\t\tc.giveLeaseUp()\n", ""),

	// Snapshots
	one("a snapshot drops later entries", "raft/snapshot.go",
		"if c.log.has(at) {", "if false {"),
	one("a snapshot forgets the membership", "raft/snapshot.go",
		"c.memberships = historyOf(s.Membership.Index, s.Membership.Clone())", ""),
	one("a snapshot that was sent counts as stored", "raft/tracker/progress.go",
		"p.Next = max(p.Match, installed) + 1", "p.Match = max(p.Match, installed)\n\tp.Next = p.Match + 1"),
	one("an older snapshot is installed", "raft/snapshot.go",
		"if s == nil || s.Index <= c.commit {", "if s == nil {"),

	// Membership
	{"learner counted in the quorum", "raft/electorate.go", []edit{
		{"voters: m.Voters()", "voters: m.which(func(Member) bool { return true })"},
		{"all: m.Electors()", "all: m.which(func(Member) bool { return true })"},
	}},
	one("a learner is sent what is not committed", "raft/replication.go",
		"if c.electorate.has(id) {\n\t\treturn c.log.last().Index", "if id != c.id {\n\t\treturn c.log.last().Index"),
	one("a member is claimed by one directory after the other", "raft/membership_change.go",
		"case !invited.Invited():", "case false:"),
	one("overlapping membership changes", "raft/change.go",
		"if c.configIndex() > c.commit || !c.committedInTerm() || c.isJoint() {", "if !c.committedInTerm() || c.isJoint() {"),
	one("membership change before an entry of the term is committed", "raft/change.go",
		"if c.configIndex() > c.commit || !c.committedInTerm() || c.isJoint() {", "if c.configIndex() > c.commit || c.isJoint() {"),
	one("the precondition of a change is ignored", "raft/change.go",
		"if configIndex != c.configIndex() {", "if false {"),
	one("removed leader that goes on", "raft/effects.go",
		"\t\tc.leaveIfRemoved()\n", ""),
	one("removed leader that never stands again", "raft/change.go",
		"if !ok || c.configIndex() <= c.commit {", "if !ok || c.configIndex() > 0 {"),
	one("a truncated membership stays in force", "raft/replication.go",
		"\t\tc.dropConfigurationsFrom(at)\n", ""),
	one("members take no notice of memberships that others append", "raft/change.go",
		"\t\tc.memberships.push(e.Index, m)\n", ""),
	one("reads of a leader left alone hang", "raft/change.go",
		"\tc.releaseReads()\n", ""),

	// Joint consensus
	one("joint: elections are decided by the incoming voters alone", "raft/electorate.go",
		"if len(e.outgoing) > 0 {\n\t\toutcome", "if false {\n\t\toutcome"),
	one("joint: elections are decided by the outgoing voters alone", "raft/electorate.go",
		"outcome = quorum.Both(outcome, majorityTally(e.outgoing, votes))", "outcome = majorityTally(e.outgoing, votes)"),
	one("joint: commitment counts the incoming voters alone", "raft/electorate.go",
		"if len(e.outgoing) > 0 {\n\t\tvalue", "if false {\n\t\tvalue"),
	one("joint: commitment counts the outgoing voters alone", "raft/electorate.go",
		"value = min(value, e.majorityReached(e.outgoing, of))", "value = e.majorityReached(e.outgoing, of)"),
	one("joint: left before its beginning is committed", "raft/change.go",
		"if !c.isJoint() || c.configIndex() > c.commit || !c.committedInTerm()", "if !c.isJoint() || !c.committedInTerm()"),
	one("joint: never left", "raft/effects.go",
		"\t\tc.leaveJoint()\n", ""),
	one("several votes move at once", "raft/membership_change.go",
		"if m.votesMoved(next) > 1 {", "if m.votesMoved(next) > MaxMembers {"),

	// The state machine
	one("lost session table in a snapshot", "kv/snapshot.go",
		"bucketRecords, bucketSessions, bucketLeases}", "bucketRecords, bucketLeases}"),
	one("session table not flushed with what it covers", "kv/flush.go",
		"b.Put(bucketSessions, r.Key, seal(r.Key, r.Value))", "_ = seal"),
	one("duplicate applied twice", "raft/session/table.go",
		"if result, there := s.results.get(h.Sequence); there {", "if result, there := s.results.get(h.Sequence); there && false {"),
	one("an expired session is treated as a new one", "raft/session/table.go",
		"\t\treturn false, nil, ErrExpired\n", "\t\tt.insert(Session{ID: h.Session, Low: 1, Used: index}, t.generation)\n\t\ts = t.sessions[h.Session]\n"),
	one("the session used last is evicted", "raft/session/table.go",
		"\tif len(t.sessions) >= t.bounds.sessions {\n\t\tt.evict(t.used.Front()", "\tif len(t.sessions) >= t.bounds.sessions {\n\t\tt.evict(t.used.Back()"),
	one("a damaged state record is served", "kv/record.go",
		"castagnoli, body) == sum", "castagnoli, body)|1 == sum|1 || true"),
	one("history that was given up is read", "kv/writes.go",
		"case at != 0 && at < compacted:", "case false:"),
	one("compaction takes the last version", "kv/removal.go",
		"if v.deleted && v.mod < l.target {", "if v.mod < l.target {"),
	one("the applied index is not flushed with what was applied", "kv/flush.go",
		"h.logical = m.current.logical", "h.logical.revision = m.current.logical.revision"),

	// The log
	one("torn WAL record accepted", "raft/wal/segment_reader.go",
		"crc32.Checksum(f.payload, castagnoli) != h.payloadCRC {", "crc32.Checksum(f.payload, castagnoli) == h.payloadCRC+1 {"),
	one("WAL not synced", "raft/wal/log.go",
		"if err := l.file.Sync(); err != nil {", "if err := error(nil); err != nil {"),
	one("segment directory not synced", "raft/wal/segments.go",
		"\treturn l.fs.SyncDir(l.dir)\n", "\treturn nil\n"),
	one("new segment not synced", "raft/wal/segments.go",
		"if err := s.file.Sync(); err != nil {", "if err := error(nil); err != nil {"),
	one("what a restart reads is not synced", "raft/wal/log.go",
		"\treturn file.Sync()\n", "\treturn nil\n"),
	one("segments go before the log says so", "raft/wal/segments.go",
		"\tif err := l.flush(&w); err != nil {\n\t\treturn l.fail(err)\n\t}\n\tfor _, s := range l.segments[:n] {", "\t_ = w\n\tfor _, s := range l.segments[:n] {"),
	one("a full disk is taken for success", "raft/wal/log.go",
		"\tif !vfs.IsNoSpace(err) {\n\t\treturn err\n\t}\n", "\tif vfs.IsNoSpace(err) {\n\t\treturn nil\n\t}\n\tif err != nil {\n\t\treturn err\n\t}\n"),
}
