package scenario

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/sim"
)

// commands are the verbs of a story. Each reads its line once, when the story is parsed.
var commands map[string]func(a *args) action

func init() {
	commands = map[string]func(a *args) action{
		"cluster": cluster, "let": let, "run": run, "elect": elect, "settle": settle, "mark": note, "maybe": maybe, "simulated": onlySimulated, "expect": expect,
		"cut": cut, "block": block, "partition": partition, "reconnect": reconnect, "heal": heal,
		"loss":      chance(Cluster.Loss),
		"duplicate": chance(Cluster.Duplicate),
		"reorder":   chance(Cluster.Reorder),
		"latency":   latency,
		"crash":     each(Cluster.Crash), "power-loss": each(Cluster.LosePower), "restart": each(Cluster.Restart),
		"pause": pause, "wipe": wipe, "compact": compact,
		"allow": kinds(Cluster.Allow), "forbid": kinds(Cluster.Forbid),
		"add": add, "promote": promote, "remove": remove, "cannot": cannot, "change": together, "transfer": transfer,
		"stall": stall, "fill": fill(true), "free": fill(false), "rot": rot,
		"put": operate(put), "get": operate(get), "swap": operate(swap), "start": start,
		"submit": submit(false), "offer": submit(true), "clients": clients,
	}
}

func cluster(a *args) action {
	voters, spares := a.number("the number of machines"), 0
	if a.accept("with") {
		spares = a.number("the number of spares")
		a.demand("spares")
	}
	oneByOne, leases := a.accept("one-by-one"), a.accept("leases")
	if voters < 1 || voters > raft.MaxVoters || spares > raft.MaxMembers-raft.MaxVoters {
		a.fail("a cluster begins with 1 to %d machines and at most %d spares", raft.MaxVoters, raft.MaxMembers-raft.MaxVoters)
	}
	return func(p *play) (err error) {
		p.links = newLinks()
		p.cluster, err = p.stage(sim.Setup{Seed: p.seed, Voters: voters, Spares: spares, OneByOne: oneByOne, Leases: leases, Trace: p.trace})
		if err == nil {
			p.mark = p.marked()
		}
		return err
	}
}

func let(a *args) action {
	name := a.word("a name")
	a.demand("=")
	who := a.machines()
	if slices.Contains(machineWords, name) || name == "rest" || (name != "" && name[0] >= '0' && name[0] <= '9') {
		a.fail("%q means something else already", name)
	}
	a.parser.names[name] = true
	return func(p *play) error {
		found, err := who.find(p)
		p.names[name] = found
		p.say("%v", found)
		return err
	}
}

func run(a *args) action {
	low, high := a.span()
	return func(p *play) error {
		d := low
		if high > low {
			d += time.Duration(p.random.Int64N(int64(high - low)))
		}
		return p.cluster.Run(d)
	}
}

func elect(a *args) action {
	who := a.among("among")
	return func(p *play) error {
		among, err := who.find(p)
		if err != nil {
			return err
		}
		if err := p.wait(patience, func(p *play) (string, error) { return p.lacksLeader(among), nil }); err != nil {
			return err
		}
		l := p.leader(among)
		p.led, p.term = l.Member, l.Status.Term
		p.say("%d leads term %d", l.Number, l.Status.Term)
		return nil
	}
}

func settle(a *args) action {
	return func(p *play) error {
		return p.wait(patience, func(p *play) (string, error) {
			if lacks, err := p.lacksEquality(nil); lacks != "" || err != nil {
				return lacks, err
			}
			return p.lacksAcknowledgement(), nil
		})
	}
}

func note(*args) action {
	return func(p *play) error {
		p.mark = p.marked()
		if l := p.leader(nil); l != nil {
			p.led, p.term = l.Member, l.Status.Term
		}
		return nil
	}
}

func maybe(a *args) action {
	probability := a.percent()
	words := a.words
	a.words = nil
	if len(words) == 0 {
		a.fail("a command is missing")
		return nil
	}
	do, err := a.parser.command(words)
	if err != nil {
		a.fail("%w", err)
	}
	return func(p *play) error {
		if p.random.Float64() >= probability {
			p.say("no")
			return nil
		}
		return do(p)
	}
}

// onlySimulated reads a command that counts in the simulation only.
func onlySimulated(a *args) action {
	words := a.words
	a.words = nil
	if len(words) == 0 {
		a.fail("a command is missing")
		return nil
	}
	do, err := a.parser.command(words)
	if err != nil {
		a.fail("%w", err)
	}
	return func(p *play) error {
		if _, ok := p.cluster.(simulated); ok {
			return do(p)
		}
		return nil
	}
}

func cut(a *args) action {
	who := a.machines()
	if !a.accept("from") {
		return func(p *play) error {
			found, err := who.find(p)
			for _, n := range found {
				p.links.off[n] = true
			}
			p.say("%v", found)
			p.relink()
			return err
		}
	}
	return pairs(who, a.machines(), true)
}

func block(a *args) action {
	from := a.machines()
	a.demand("->")
	return pairs(from, a.machines(), false)
}

func pairs(from, to machines, both bool) action {
	return func(p *play) error {
		left, err := from.find(p)
		if err != nil {
			return err
		}
		right, err := to.find(p)
		for _, x := range left {
			for _, y := range right {
				p.links.single[[2]int{x, y}] = true
				if both {
					p.links.single[[2]int{y, x}] = true
				}
			}
		}
		p.say("%v and %v", left, right)
		p.relink()
		return err
	}
}

// partition reads groups with | between; the last may be the rest.
func partition(a *args) action {
	var groups []machines
	rest := false
	for {
		if a.accept("rest") {
			rest = true
			break
		}
		groups = append(groups, a.machines())
		if !a.accept("|") {
			break
		}
	}
	return func(p *play) error {
		var found [][]int
		others := p.those(func(sim.Machine) bool { return true })
		for _, g := range groups {
			in, err := g.find(p)
			if err != nil {
				return err
			}
			found = append(found, in)
			others = slices.DeleteFunc(others, func(n int) bool { return slices.Contains(in, n) })
		}
		if rest {
			found = append(found, others)
		}
		p.links.groups = found
		p.say("%v", found)
		p.relink()
		return nil
	}
}

func reconnect(a *args) action {
	who := a.machines()
	return func(p *play) error {
		found, err := who.find(p)
		for _, n := range found {
			delete(p.links.off, n)
			for link := range p.links.single {
				if link[0] == n || link[1] == n {
					delete(p.links.single, link)
				}
			}
		}
		p.say("%v", found)
		p.relink()
		return err
	}
}

func heal(*args) action {
	return func(p *play) error {
		p.heal()
		return nil
	}
}

func chance(set func(Cluster, float64)) func(a *args) action {
	return func(a *args) action {
		probability := a.percent()
		return func(p *play) error {
			set(p.cluster, probability)
			return nil
		}
	}
}

func latency(a *args) action {
	low, high := a.span()
	return func(p *play) error {
		p.cluster.Latency(low, high)
		return nil
	}
}

// each does something with each of some machines.
func each(do func(Cluster, int) error) func(a *args) action {
	return func(a *args) action {
		who := a.machines()
		return func(p *play) error {
			found, err := who.find(p)
			p.say("%v", found)
			for _, n := range found {
				if err == nil {
					err = do(p.cluster, n)
				}
			}
			return err
		}
	}
}

func pause(a *args) action {
	who := a.machines()
	d := a.duration()
	return func(p *play) error {
		found, err := who.find(p)
		p.say("%v", found)
		for _, n := range found {
			if err == nil {
				err = p.cluster.Pause(n, d)
			}
		}
		return err
	}
}

func wipe(a *args) action {
	who := a.machines()
	return func(p *play) error {
		n, err := who.one(p)
		if err != nil {
			return err
		}
		if m := p.cluster.Machine(n); m.Member != 0 {
			p.lastMember[n] = m.Member
		}
		p.say("%d", n)
		return p.cluster.Wipe(n)
	}
}

func compact(a *args) action {
	a.demand("keep")
	keep := a.number("how many entries to keep")
	return func(p *play) error {
		p.cluster.Compact(keep)
		return nil
	}
}

func kinds(do func(Cluster, sim.Faults)) func(a *args) action {
	return func(a *args) action {
		f := sim.AllFaults
		if !a.accept("all") {
			var err error
			if f, err = sim.ParseFaults(a.word("kinds of faults")); err != nil {
				a.fail("%w", err)
			}
		}
		return func(p *play) error {
			do(p.cluster, f)
			return nil
		}
	}
}

func transfer(a *args) action {
	a.demand("to")
	who := a.machines()
	return func(p *play) error {
		to, err := who.one(p)
		if err != nil {
			return err
		}
		from := p.leader(nil)
		if from == nil {
			return errors.New("nobody leads")
		}
		if err := p.cluster.Transfer(from.Number, to); err != nil {
			return err
		}
		return p.wait(patience, func(p *play) (string, error) {
			if m := p.cluster.Machine(to); !m.Leads() {
				return fmt.Sprintf("machine %d does not lead", to), nil
			}
			return "", nil
		})
	}
}
