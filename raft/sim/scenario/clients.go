package scenario

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/raftkv/raftkv/raft/sim"
)

// operation is something that a client is told to do, at one machine or at any (zero). wrong tells in what the answer is not
// what the story says.
type operation struct {
	start func(c Cluster, at int) (Answer, error)
	wrong func(a Answer) string
}

func (a *args) value() uint64 {
	w := a.word("a value")
	n, err := strconv.ParseUint(w, 10, 31)
	if err != nil {
		a.fail("value %q is not a number", w)
	}
	return n
}

func put(a *args) operation {
	r, value := a.register(), a.value()
	return operation{
		start: func(c Cluster, at int) (Answer, error) { return c.Put(int(r), value, at) },
		wrong: func(Answer) string { return "" },
	}
}

func get(a *args) operation {
	r := a.register()
	a.demand("=")
	want := a.value()
	return operation{
		start: func(c Cluster, at int) (Answer, error) { return c.Get(int(r), at) },
		wrong: func(x Answer) string {
			if got := x.Value(); got != want {
				return fmt.Sprintf("%s = %d was read", r, got)
			}
			return ""
		},
	}
}

func swap(a *args) operation {
	r, old, value := a.register(), a.value(), a.value()
	want := !a.accept("fails")
	return operation{
		start: func(c Cluster, at int) (Answer, error) { return c.Swap(int(r), old, value, at) },
		wrong: func(x Answer) string {
			if x.Swapped() != want {
				return fmt.Sprintf("the swap was made: %t", x.Swapped())
			}
			return ""
		},
	}
}

// asked reads the operation and where it is asked for.
func (a *args) asked(read func(a *args) operation) func(p *play) (operation, Answer, error) {
	op := read(a)
	pinned := a.accept("at")
	var where machines
	if pinned {
		where = a.machines()
	}
	return func(p *play) (operation, Answer, error) {
		at := 0
		if pinned {
			var err error
			if at, err = where.one(p); err != nil {
				return op, nil, err
			}
		}
		answer, err := op.start(p.cluster, at)
		return op, answer, err
	}
}

// operate waits for the answer.
func operate(read func(a *args) operation) func(a *args) action {
	return func(a *args) action {
		ask := a.asked(read)
		return func(p *play) error {
			op, answer, err := ask(p)
			if err != nil {
				return err
			}
			err = p.wait(patience, func(*play) (string, error) {
				if !answer.Done() {
					return "no answer came", nil
				}
				return "", nil
			})
			if err != nil {
				return err
			}
			if wrong := op.wrong(answer); wrong != "" {
				return errors.New(wrong)
			}
			return nil
		}
	}
}

// start reads an operation whose answer nobody waits for.
func start(a *args) action {
	var ask func(p *play) (operation, Answer, error)
	switch {
	case a.accept("put"):
		ask = a.asked(put)
	case a.accept("get"):
		ask = a.asked(func(a *args) operation {
			r := a.register()
			return operation{start: func(c Cluster, at int) (Answer, error) { return c.Get(int(r), at) }}
		})
	default:
		a.fail("put or get is missing")
	}
	return func(p *play) error {
		_, answer, err := ask(p)
		p.started = append(p.started, answer)
		return err
	}
}

func (p *play) unanswered() (n int) {
	for _, x := range p.started {
		if !x.Done() {
			n++
		}
	}
	return n
}

// manyRegister is where writes go that have no register of their own in the story.
const manyRegister = register('z' - 'a')

// submit proposes one write, or as many as the line says. With lenient machines may refuse.
func submit(lenient bool) func(a *args) action {
	return func(a *args) action {
		r, n, value := manyRegister, 1, uint64(0)
		if len(a.words) > 0 && isRegister(a.words[0]) {
			r, value = a.register(), a.value()
		} else {
			n = a.number("a register, or how many writes")
		}
		a.demand("to")
		who := a.machines()
		return func(p *play) error {
			found, err := who.find(p)
			if err != nil {
				return err
			}
			taken := 0
			for range n {
				for _, m := range found {
					v := value
					if v == 0 {
						p.fresh++
						v = p.fresh
					}
					err := p.cluster.Submit(m, int(r), v)
					var broken *sim.Violation
					switch {
					case errors.As(err, &broken):
						return err
					case err != nil && !lenient:
						return fmt.Errorf("machine %d refuses: %w", m, err)
					case err == nil:
						taken++
					}
				}
			}
			p.say("%v took %d", found, taken)
			return nil
		}
	}
}

func clients(a *args) action {
	if !a.accept("stop") {
		n := a.number("how many")
		return func(p *play) error { return p.cluster.StartClients(n) }
	}
	return func(p *play) error {
		p.cluster.StopClients()
		return p.wait(patience, func(p *play) (string, error) {
			if n := p.cluster.Waiting(); n > 0 {
				return fmt.Sprintf("%d clients wait for an answer", n), nil
			}
			return "", nil
		})
	}
}
