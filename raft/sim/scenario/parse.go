package scenario

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Story is a scenario file that was read.
type Story struct {
	// Name is the file's name without folder and ending.
	Name  string
	steps []step
}

// action does what a line says.
type action func(p *play) error

// step is one line of a story.
type step struct {
	place string // file:line
	text  string
	do    action // nil for a comment or the head of a loop
	times int
	body  []step
}

// Parse reads a story. An error names the file and the line.
func Parse(file string, r io.Reader) (*Story, error) {
	s := &parser{file: file, lines: bufio.NewScanner(r), names: map[string]bool{}}
	steps, err := s.block(false)
	if err == nil {
		err = s.lines.Err()
	}
	if err != nil {
		return nil, err
	}
	name := file[strings.LastIndexByte(file, '/')+1:]
	return &Story{Name: strings.TrimSuffix(name, ".txt"), steps: steps}, nil
}

type parser struct {
	file  string
	line  int
	lines *bufio.Scanner
	names map[string]bool // that let has given
	began bool            // a cluster was made
}

// block reads lines up to the end of the file, or of a loop.
func (s *parser) block(loop bool) ([]step, error) {
	var out []step
	for s.lines.Scan() {
		s.line++
		text := strings.TrimSpace(s.lines.Text())
		if text == "" {
			continue
		}
		x := step{place: fmt.Sprintf("%s:%d", s.file, s.line), text: text}
		code, _, _ := strings.Cut(text, "#")
		words := strings.Fields(code)
		switch {
		case len(words) == 0:
		case words[0] == "end" && loop && len(words) == 1:
			return out, nil
		case words[0] == "repeat":
			a := &args{words: words[1:], parser: s}
			x.times = a.number("how often")
			if err := a.finish(); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", x.place, text, err)
			}
			body, err := s.block(true)
			if err != nil {
				return nil, err
			}
			x.body = body
		default:
			do, err := s.command(words)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", x.place, text, err)
			}
			x.do = do
		}
		out = append(out, x)
	}
	if loop {
		return nil, fmt.Errorf("%s:%d: a repeat has no end", s.file, s.line)
	}
	return out, nil
}

func (s *parser) command(words []string) (action, error) {
	compile, ok := commands[words[0]]
	if !ok {
		return nil, fmt.Errorf("unknown command %q", words[0])
	}
	if first := words[0] == "cluster"; first == s.began {
		return nil, fmt.Errorf("a story begins with cluster, and has one")
	}
	s.began = true
	a := &args{words: words[1:], parser: s}
	do := compile(a)
	return do, a.finish()
}

// args are the words of a line that were not read yet. The first mistake stays, so that readers need not look for it
// at each word.
type args struct {
	words  []string
	parser *parser
	err    error
}

func (a *args) fail(format string, values ...any) {
	if a.err == nil {
		a.err = fmt.Errorf(format, values...)
	}
}

func (a *args) finish() error {
	if a.err == nil && len(a.words) > 0 {
		a.fail("%q is too much", strings.Join(a.words, " "))
	}
	return a.err
}

// accept reads these words, if they come next.
func (a *args) accept(words ...string) bool {
	if len(a.words) < len(words) {
		return false
	}
	for i, w := range words {
		if a.words[i] != w {
			return false
		}
	}
	a.words = a.words[len(words):]
	return true
}

func (a *args) demand(word string) {
	if !a.accept(word) {
		a.fail("%q is missing", word)
	}
}

func (a *args) word(what string) string {
	if len(a.words) == 0 {
		a.fail("%s is missing", what)
		return ""
	}
	w := a.words[0]
	a.words = a.words[1:]
	return w
}

func (a *args) number(what string) int {
	w := a.word(what)
	n, err := strconv.ParseUint(w, 10, 31)
	if err != nil {
		a.fail("%s: %q is not a number", what, w)
	}
	return int(n)
}

func (a *args) duration() time.Duration {
	w := a.word("a duration")
	d, err := time.ParseDuration(w)
	if err != nil || d < 0 {
		a.fail("%q is not a duration such as 500ms", w)
	}
	return d
}

// span reads one duration, or two with dots between.
func (a *args) span() (low, high time.Duration) {
	w := a.word("a duration")
	first, second, two := strings.Cut(w, "..")
	if !two {
		second = first
	}
	b := &args{words: []string{first, second}}
	low, high = b.duration(), b.duration()
	if b.err != nil || high < low {
		a.fail("%q is not a duration such as 500ms, or two such as 10ms..500ms", w)
	}
	return low, high
}

func (a *args) percent() float64 {
	w := a.word("a percentage")
	n, err := strconv.ParseFloat(strings.TrimSuffix(w, "%"), 64)
	if err != nil || !strings.HasSuffix(w, "%") || n < 0 || n > 100 {
		a.fail("%q is not a percentage such as 20%%", w)
	}
	return n / 100
}

// register reads the name of one.
func (a *args) register() register {
	w := a.word("a register")
	if !isRegister(w) {
		a.fail("%q is not a register: they are called a to z", w)
		return 0
	}
	return register(w[0] - 'a')
}

func isRegister(w string) bool { return len(w) == 1 && w[0] >= 'a' && w[0] <= 'z' }

// register is one of the state machine, by number.
type register int

func (r register) String() string { return string(rune('a' + r)) }
