package merge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// Patience is how long a line waits for an earlier one of another stream when streams are followed.
	Patience = 500 * time.Millisecond
	// maxLineBytes bounds one line; a longer one ends its stream with an error.
	maxLineBytes = 1 << 20
	// ahead is how many lines of each stream are read before they are needed.
	ahead = 64
)

// Source is one stream of lines; each begins with its time (RFC 3339) and a space, as the logs of Kubernetes do.
type Source struct {
	Name string
	From io.ReadCloser
}

// Line is one line of the merged log.
type Line struct {
	Source string
	At     time.Time
	Text   string
}

// Lines merges the sources until all have ended or the context does, or emit fails. With patience zero it waits for each source however long that
// takes, so that the order is right; otherwise a line is held back that long at most, which is for sources that are followed. Errors of
// single sources are joined and returned at the end: the others go on. More sources may come from more, until it is closed; nil if there are none. It
// closes the sources.
func Lines(ctx context.Context, sources []Source, more <-chan Source, patience time.Duration, emit func(Line) error) error {
	ctx, cancel := context.WithCancel(ctx)
	m := merger{ctx: ctx, arrived: make(chan struct{}, 1), more: more, patience: patience}
	defer func() {
		cancel()
		for _, s := range m.sources {
			_ = s.From.Close() // it was only read
		}
		m.reading.Wait()
	}()
	for _, s := range sources {
		m.add(s)
	}
	return m.run(emit)
}

// feed is one source with the line that is next.
type feed struct {
	name  string
	lines chan Line
	err   error // set before lines is closed
	next  *Line
	since time.Time // when next came
	done  bool
}

func (f *feed) read(ctx context.Context, from io.Reader, arrived chan<- struct{}) {
	defer func() {
		close(f.lines)
		notify(arrived)
	}()
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, maxLineBytes)
	last := time.Time{}
	for scanner.Scan() {
		l := parse(f.name, scanner.Text(), last)
		last = l.At
		select {
		case f.lines <- l:
			notify(arrived)
		case <-ctx.Done():
			return
		}
	}
	if err := scanner.Err(); err != nil && ctx.Err() == nil {
		f.err = fmt.Errorf("%s: %w", f.name, err)
	}
}

func notify(arrived chan<- struct{}) {
	select {
	case arrived <- struct{}{}:
	default:
	}
}

// parse takes the time off the line. One without a time belongs to the line before it.
func parse(source, text string, last time.Time) Line {
	stamp, rest, ok := strings.Cut(text, " ")
	if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
		if !ok {
			rest = ""
		}
		return Line{source, at, rest}
	}
	return Line{source, last, text}
}

type merger struct {
	ctx      context.Context
	feeds    []*feed
	arrived  chan struct{}
	more     <-chan Source // nil once there are no more
	patience time.Duration

	sources []Source
	reading sync.WaitGroup
}

func (m *merger) add(s Source) {
	f := &feed{name: s.Name, lines: make(chan Line, ahead)}
	m.sources, m.feeds = append(m.sources, s), append(m.feeds, f)
	m.reading.Go(func() { f.read(m.ctx, s.From, m.arrived) })
}

func (m *merger) run(emit func(Line) error) error {
	for {
		first, waits := m.first()
		if first == nil && !waits && m.more == nil {
			var errs []error
			for _, f := range m.feeds {
				errs = append(errs, f.err)
			}
			return errors.Join(errs...)
		}
		if first != nil && (!waits || m.overdue(first)) {
			l := *first.next
			first.next = nil
			if err := emit(l); err != nil {
				return err
			}
			continue
		}
		if !m.wait(first) {
			return m.ctx.Err()
		}
	}
}

// first takes what has come and returns the feed with the earliest line, and whether a feed that has none may still bring an earlier one.
func (m *merger) first() (least *feed, waits bool) {
	for _, f := range m.feeds {
		if f.next == nil && !f.done {
			select {
			case l, ok := <-f.lines:
				if f.done = !ok; ok {
					f.next, f.since = &l, time.Now()
				}
			default:
			}
		}
		switch {
		case f.next != nil && (least == nil || f.next.At.Before(least.next.At)):
			least = f
		case f.next == nil && !f.done:
			waits = true
		}
	}
	return least, waits
}

func (m *merger) overdue(f *feed) bool { return m.patience > 0 && time.Since(f.since) >= m.patience }

// wait returns when something came, a source or a line, or the line has waited long enough; false when the context ended.
func (m *merger) wait(first *feed) bool {
	var late <-chan time.Time
	if first != nil && m.patience > 0 {
		t := time.NewTimer(m.patience - time.Since(first.since))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-m.arrived:
	case s, ok := <-m.more:
		if !ok {
			m.more = nil
			break
		}
		m.add(s)
	case <-late:
	case <-m.ctx.Done():
		return false
	}
	return true
}

// Continue copies the lines that are later than after, so that a stream which was opened again goes on where it ended. It returns the time of the last line.
func Continue(to io.Writer, from io.Reader, after time.Time) (last time.Time, err error) {
	last = after
	told := after.IsZero()
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, maxLineBytes)
	for scanner.Scan() {
		stamp, _, _ := strings.Cut(scanner.Text(), " ")
		// A line without a time belongs to the one before it.
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			if told = at.After(after) || after.IsZero(); told {
				last = at
			}
		}
		if !told {
			continue
		}
		if _, err := fmt.Fprintln(to, scanner.Text()); err != nil {
			return last, err
		}
	}
	return last, scanner.Err()
}
