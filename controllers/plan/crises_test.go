package plan

import (
	"math/rand/v2"
	"slices"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

// Crises are what chance alone hardly ever brings about: several things that go wrong one after the other, each at its moment, in a cluster that was well. They come in half
// of the worlds, by a random stream of their own, so that the other half is what it is without them. Other faults rest meanwhile; the operator is killed, and its caches lag, as ever.

const (
	// crisisEvery is after how many ticks without a crisis the next one begins, on average; calmTicks how long a cluster has to become well for it, and
	// crisisTicks how long one lasts at most.
	crisisEvery = 150
	calmTicks   = 900
	crisisTicks = calmTicks + 1600
)

// crisis is one of them.
type crisis struct {
	name string
	// voters is how many the cluster has for it; zero for as many as it happens to have, which are two at least.
	voters int
	// acts follow each other: each is called every tick until it says that it is over.
	acts []func() bool

	began, until int
}

// newCrises gives the crises of a world; nil for one that has none.
func newCrises(seed uint64) *rand.Rand {
	own := rand.New(rand.NewPCG(seed, 2))
	if own.IntN(2) == 0 {
		return nil
	}
	return own
}

// unfold goes on with the crisis of the moment, or begins one. It reports whether there is one.
func (w *world) unfold() bool {
	c := w.crisis
	switch {
	case w.crises == nil:
		return false
	case c == nil && w.crises.IntN(crisisEvery) != 0:
		return false
	case c == nil:
		all := []func() *crisis{w.tails, w.lateLearner, w.uneasyRest, w.halfAsleep, w.forsaken, w.backAgain, w.ghost, w.guest, w.outgrown}
		c = all[w.crises.IntN(len(all))]()
		c.began, c.until = w.g.now, w.g.now+crisisTicks
		c.acts = append([]func() bool{func() bool { return w.composed(c) }}, c.acts...)
		w.crisis = c
		w.calm()
		if c.voters != 0 && c.voters != w.desired {
			w.ask(c.voters)
		}
	}
	for len(c.acts) > 0 && c.acts[0]() {
		c.acts = c.acts[1:]
	}
	if len(c.acts) == 0 || w.g.now >= c.until {
		if len(c.acts) == 0 {
			w.stats["crisis-"+c.name]++
		}
		w.calm()
		w.crisis = nil
	}
	return true
}

// calm ends what is wrong for a while only.
func (w *world) calm() {
	clear(w.g.cut)
	clear(w.g.slow)
	w.endGhosts()
	for _, p := range w.pods {
		p.hidden, p.failing = false, false
	}
	w.g.lazy, w.refuses, w.paused = false, 0, false
	if w.hibernate {
		w.sleep(false)
	}
	if w.bad[w.template] {
		w.template++
	}
	w.specVersion++
	w.faultAt = w.g.now
}

func (w *world) ask(n int) {
	w.desired = n
	w.specVersion++
	w.say("spec: %d replicas", n)
}

func (w *world) sleep(hibernate bool) {
	w.hibernate = hibernate
	w.specVersion++
	w.say("spec: hibernate %v", hibernate)
}

// composed is the first act of every crisis: it waits until the cluster is well, and ends the crisis if that takes too long.
func (w *world) composed(c *crisis) bool {
	if w.g.now > c.began+calmTicks {
		c.until = w.g.now
	}
	all, _, up := w.g.voters(w.claims)
	well := w.recordID != 0 && w.recordID == w.cluster && w.steady() && w.g.leader() != nil && w.asleep == 0 && len(w.going) == 0 &&
		all >= max(2, c.voters) && up == all && all == w.desired && len(w.g.newest.Members) == all && len(w.pods) == all && w.replicas == all
	for _, p := range w.pods {
		well = well && p.running && p.endsAt == 0
	}
	if well {
		w.say("crisis: %s", c.name)
		w.faultAt = w.g.now
	}
	return well
}

// lasting is an act that takes so long, and does something all the while.
func (w *world) lasting(ticks int, f func()) func() bool {
	until := 0
	return func() bool {
		if until == 0 {
			until = w.g.now + ticks
		}
		f()
		return w.g.now >= until
	}
}

// within is an act that waits for something, so long and not longer.
func (w *world) within(ticks int, f func() bool) func() bool {
	until := 0
	return func() bool {
		if until == 0 {
			until = w.g.now + ticks
		}
		return f() || w.g.now >= until
	}
}

// others are the ordinals of the voters, without those that are named, in an order by chance.
func (w *world) others(but ...int) []int {
	var out []int
	for _, id := range w.g.newest.Voters() {
		m, _ := w.g.newest.Find(id)
		i, _ := resources.Ordinal("demo", m.Name)
		out = append(out, i)
	}
	w.crises.Shuffle(len(out), func(a, b int) { out[a], out[b] = out[b], out[a] })
	return slices.DeleteFunc(out, func(i int) bool { return slices.Contains(but, i) })
}

// hide has all pods but one be said not to run, and their nodes not answer the operator, or the other way round.
func (w *world) hide(hidden bool, but int) {
	for i := range mostPods {
		if p := w.pods[i]; p != nil && p.running && i != but && p.hidden != hidden {
			p.hidden, p.since = hidden, w.g.now
		}
	}
}

// tails: a leader is cut off with many writes that nobody else has, the others elect another one and acknowledge a few, and then all volumes are lost but those of the two: the
// longest log is not that of the highest index. Sometimes the one that has it does not answer for long; sometimes the other one is not heard of until the RaftCluster was
// applied again, and then is the only one that is.
func (w *world) tails() *crisis {
	c := &crisis{name: "tails", voters: 4 + w.crises.IntN(2)}
	var before, heir int
	var mark raft.Index
	var old raft.ClusterID
	c.acts = []func() bool{
		func() bool {
			l := w.g.leader()
			before, mark, old = l.ordinal, w.g.lastPromised, w.cluster
			w.g.cut[before] = true
			for range 40 {
				_, _, _ = l.core.Propose([][]byte{{0xff, byte(w.g.now)}})
				w.g.pump(l)
			}
			return true
		},
		func() bool {
			l := w.g.leader()
			if l == nil || l.ordinal == before || w.g.lastPromised < mark+3 || !w.steady() {
				return false
			}
			heir = l.ordinal
			for _, i := range w.others(before, heir) {
				if all, intact, _ := w.g.voters(w.claims); intact >= quorum(all) {
					w.lose(i)
				}
			}
			w.faultAt = w.g.now
			return true
		},
	}
	founded := func() bool { return w.cluster != old }
	switch w.crises.IntN(3) {
	case 0:
		c.acts = append(c.acts, w.within(800, founded))
	case 1:
		silent := w.lasting(500, func() {
			if p := w.pods[heir]; p != nil && !founded() {
				p.hidden = p.running
			}
		})
		c.acts = append(c.acts, silent, func() bool { w.hide(false, -1); return true }, w.within(800, founded))
	default:
		c.acts = append(c.acts, w.within(800, founded))
		c.acts = append(c.acts, w.relic(func() int {
			for _, i := range []int{before, heir} {
				if d := w.claims[i]; d != nil && d.cluster == old {
					return i
				}
			}
			return -1
		})...)
	}
	return c
}

// relic goes on when a cluster was rebuilt: one of those that it was rebuilt without, if there is any, is not heard of before the RaftCluster is applied again.
func (w *world) relic(find func() int) []func() bool {
	at := -1
	return []func() bool{
		func() bool { at = find(); return true },
		w.within(600, func() bool {
			if p := w.pods[at]; p != nil && p.running {
				p.hidden = true
			}
			all, _, up := w.g.voters(w.claims)
			return at < 0 || w.recordID == w.cluster && all >= 2 && up == all && w.steady()
		}),
		w.within(100, func() bool {
			d := w.claims[at]
			switch {
			case d == nil || d.cluster == w.cluster || w.recordID != w.cluster:
				at = -1
			case !w.steady():
				return false
			default:
				w.stats["relic"]++
				w.applyAnew()
				w.ask(1 + at)
				w.op.sleep = 80
			}
			return true
		}),
		w.lasting(400, func() {
			if at < 0 {
				return
			}
			w.hide(true, at)
			if p := w.pods[at]; p != nil {
				p.hidden = false
			}
		}),
	}
}

// lateLearner: one of three lost its volume, and what replaces it is slow to catch up; meanwhile the probe of another fails, which a new template might cure.
func (w *world) lateLearner() *crisis {
	return &crisis{name: "late learner", voters: 3, acts: []func() bool{
		func() bool {
			o := w.others(w.g.leader().ordinal)
			w.lose(o[0])
			w.g.slow[o[0]] = 4*electionTicks + w.crises.IntN(2*electionTicks)
			w.pods[o[1]].failing = true
			w.template++
			w.specVersion++
			return true
		},
		w.lasting(500, func() {}),
	}}
}

// uneasyRest: the cluster is to rest while demo-0, which another leads, is on a line that is a little slow, or while another one is far behind.
func (w *world) uneasyRest() *crisis {
	behind := w.crises.IntN(2) == 0
	return &crisis{name: "uneasy rest", voters: 3, acts: []func() bool{
		func() bool {
			if l := w.g.leader(); l.ordinal == 0 {
				m, _ := w.g.newest.Find(w.claims[w.others(0)[0]].id)
				_ = l.core.Transfer(m.ID)
				w.g.pump(l)
			}
			return true
		},
		w.within(200, func() bool { l := w.g.leader(); return l != nil && l.ordinal != 0 }),
		func() bool {
			l := w.g.leader()
			if l == nil {
				return false
			}
			if w.g.slow[0] = electionTicks/2 + w.crises.IntN(electionTicks/2); behind {
				clear(w.g.slow)
				w.g.slow[w.others(0, l.ordinal)[0]] = 4*electionTicks + w.crises.IntN(6*electionTicks)
			}
			w.sleep(true)
			return true
		},
		w.within(400, func() bool { return w.op.last.Hibernated }),
		func() bool { clear(w.g.slow); return true },
		w.within(300, func() bool { return w.op.last.Hibernated }),
	}}
}

// halfAsleep: the followers are still ending when the cluster is to wake up, smaller than it was, and the API server refuses to scale it for a while.
func (w *world) halfAsleep() *crisis {
	return &crisis{name: "half asleep", voters: 3 + w.crises.IntN(3), acts: []func() bool{
		func() bool { w.sleep(true); return true },
		w.within(400, func() bool { return w.asleep > 0 && w.replicas == 1 }),
		func() bool {
			w.sleep(false)
			w.ask(1)
			w.refuses = w.g.now + 200
			return true
		},
		w.lasting(250, func() {
			for i, p := range w.pods {
				if i >= w.replicas && p.endsAt != 0 && w.g.now < w.refuses {
					p.endsAt = w.refuses
				}
			}
		}),
	}}
}

// forsaken: the RaftCluster is applied again, the first of its volumes is lost, and nobody hears the others for long.
func (w *world) forsaken() *crisis {
	return &crisis{name: "forsaken", voters: 3 + w.crises.IntN(3), acts: []func() bool{
		func() bool {
			if !w.steady() || !w.spare(0) {
				return false
			}
			n := w.desired
			w.applyAnew()
			w.ask(n)
			w.lose(0)
			return true
		},
		w.lasting(400, func() { w.hide(true, 0) }),
	}}
}

// backAgain: a member is removed and wanted again at once, while its node is slow to set its directory aside.
func (w *world) backAgain() *crisis {
	i := 0
	return &crisis{name: "back again", acts: []func() bool{
		func() bool {
			w.g.lazy = true
			i = w.desired - 1
			w.ask(i)
			return true
		},
		w.within(400, func() bool {
			d := w.claims[i]
			if d == nil {
				return true
			}
			_, member := w.g.newest.FindIncarnation(d.incarnation)
			return !member
		}),
		func() bool { w.ask(i + 1); return true },
		w.lasting(250, func() {}),
	}}
}

// ghost: a machine is said to be gone, and the pod on it, which was asked to go, runs all the same and is needed, since others are cut off. Sometimes the RaftCluster is applied
// again at that moment, over its pods, so that nobody has on record which cluster they are of.
func (w *world) ghost() *crisis {
	i := 0
	return &crisis{name: "ghost", voters: 3 + 2*w.crises.IntN(2), acts: []func() bool{
		func() bool {
			l := w.g.leader()
			i = w.others(l.ordinal)[0]
			if w.crises.IntN(4) == 0 {
				i = l.ordinal
			}
			for _, k := range w.others(l.ordinal, i) {
				if all, _, up := w.g.voters(w.claims); up > quorum(all) {
					w.g.cut[k] = true
				}
			}
			if w.crises.IntN(2) == 0 && w.steady() {
				w.reapply(w.desired)
				w.op.sleep = 3 * electionTicks // that the others are cut off is known to all by then
				w.stats["ghost-on-no-record"]++
				w.say("the RaftCluster is deleted and applied again, its pods are left")
			}
			w.pods[i].lost, w.pods[i].endsAt = true, w.g.now+1
			return true
		},
		w.lasting(200, func() {}),
		func() bool { clear(w.g.cut); w.faultAt = w.g.now; return true },
		w.within(200, func() bool { return w.pods[i] == nil || !w.pods[i].lost }),
	}}
}

// endGhosts ends the pods on machines that are said to be gone, as Kubernetes or the machines' end does in time.
func (w *world) endGhosts() {
	for i, p := range w.pods {
		if p.lost {
			w.crash(i)
		}
	}
}

// outgrown: a cluster grows from three to five while one cannot be reached, which then is the only one left of the three. Those who know better are not heard for long, or the
// RaftCluster is applied again with three pods, so that they have claims and no pods.
func (w *world) outgrown() *crisis {
	left, again := 0, w.crises.IntN(2) == 0
	return &crisis{name: "outgrown", voters: 3, acts: []func() bool{
		func() bool {
			left = w.others(w.g.leader().ordinal)[0]
			w.g.cut[left] = true
			w.ask(5)
			return true
		},
		w.within(900, func() bool { return len(w.g.newest.Voters()) == 5 }),
		func() bool {
			if !w.steady() {
				return false
			}
			if all, _, up := w.g.voters(w.claims); all < 5 || up < 4 || w.recordID != w.cluster {
				again = true
				return true
			}
			if again {
				w.applyAnew()
				w.ask(3)
				clear(w.g.cut)
			}
			for i := range 3 {
				if i != left {
					w.lose(i)
				}
			}
			w.faultAt = w.g.now
			w.stats["outgrown"]++
			return true
		},
		w.within(400, func() bool {
			for i := range w.pods {
				if p := w.pods[i]; !again && i >= 3 && p.running && !p.hidden {
					p.hidden, p.since = true, w.g.now
				}
			}
			return again && w.recordID != 0 && w.g.leader() != nil
		}),
	}}
}

// guest: somebody invites a member by its address, whom nobody claims to be, and then wants the cluster to rest.
func (w *world) guest() *crisis {
	return &crisis{name: "guest", acts: []func() bool{
		func() bool {
			l := w.g.leader()
			if l == nil {
				return false
			}
			_, _, err := l.core.ProposeChanges(l.core.ConfigIndex(), []raft.Change{{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: "guest:2380", Learner: true}}})
			w.g.pump(l)
			if err == nil {
				w.sleep(true)
			}
			return err == nil
		},
		w.lasting(200, func() {}),
		func() bool { return w.expel() },
		w.within(300, func() bool { return w.op.last.Hibernated }),
	}}
}

// expel removes whoever was invited, as a person does; it reports whether nobody is left.
func (w *world) expel() bool {
	for _, m := range w.g.newest.Members {
		if _, ours := resources.Ordinal("demo", m.Name); ours {
			continue
		}
		if l := w.g.leader(); l != nil {
			_, _, _ = l.core.ProposeChanges(l.core.ConfigIndex(), []raft.Change{{Kind: raft.ChangeRemove, ID: m.ID}})
			w.g.pump(l)
		}
		return false
	}
	return true
}
