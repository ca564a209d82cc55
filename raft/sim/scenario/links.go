package scenario

import "slices"

// links are the cuts of a story: a link is dead if either end is cut off, if its ends are in different groups, or
// if it was cut or blocked by itself.
type links struct {
	off    map[int]bool
	groups [][]int
	single map[[2]int]bool
	dead   map[[2]int]bool // as the cluster was told
}

func newLinks() links {
	return links{off: map[int]bool{}, single: map[[2]int]bool{}, dead: map[[2]int]bool{}}
}

func (l *links) isDead(from, to int) bool {
	return l.off[from] || l.off[to] || l.single[[2]int{from, to}] || l.apart(from, to)
}

// apart tells whether two machines are in different groups; one in no group is with everybody.
func (l *links) apart(a, b int) bool {
	in := func(n int) int {
		return slices.IndexFunc(l.groups, func(g []int) bool { return slices.Contains(g, n) })
	}
	x, y := in(a), in(b)
	return x >= 0 && y >= 0 && x != y
}

// relink tells the cluster what has changed.
func (p *play) relink() {
	for from := 1; from <= p.cluster.Size(); from++ {
		for to := 1; to <= p.cluster.Size(); to++ {
			link := [2]int{from, to}
			dead := from != to && p.links.isDead(from, to)
			switch {
			case dead && !p.links.dead[link]:
				p.cluster.Block(from, to)
			case !dead && p.links.dead[link]:
				p.cluster.Unblock(from, to)
			}
			p.links.dead[link] = dead
		}
	}
}

// heal ends all cuts.
func (p *play) heal() {
	p.links = newLinks()
	p.cluster.Heal()
}

// reach tells whether two machines hear each other.
func (p *play) reach(a, b int) bool {
	return a == b || (!p.cluster.Blocked(a, b) && !p.cluster.Blocked(b, a))
}
