package merge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func source(name string, lines ...string) Source {
	return Source{name, io.NopCloser(strings.NewReader(strings.Join(lines, "\n")))}
}

func at(second int, text string) string {
	return time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC).Format(time.RFC3339Nano) + " " + text
}

func collect(t *testing.T, sources ...Source) []string {
	t.Helper()
	var out []string
	if err := Lines(t.Context(), sources, nil, 0, func(l Line) error {
		out = append(out, l.Source+" "+l.Text)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLinesComeInTheOrderOfTime(t *testing.T) {
	got := collect(t,
		source("a", at(1, "one"), at(4, "four"), "continued"),
		source("b", at(2, "two"), at(3, "three"), at(4, "fourth, too")),
		source("c"))
	want := []string{"a one", "b two", "b three", "a four", "a continued", "b fourth, too"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestManyStreamsAreMergedAsIfSorted(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var sources []Source
		var all []string
		for s := range 1 + r.IntN(5) {
			var lines []string
			second := 0
			for range r.IntN(200) {
				second += r.IntN(3)
				lines = append(lines, at(second, fmt.Sprint(second)))
				all = append(all, fmt.Sprint(second))
			}
			sources = append(sources, source(fmt.Sprint(s), lines...))
		}
		var got []string
		last := time.Time{}
		if err := Lines(t.Context(), sources, nil, 0, func(l Line) error {
			if l.At.Before(last) {
				t.Fatalf("%v comes behind %v", l.At, last)
			}
			last = l.At
			got = append(got, l.Text)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		slices.Sort(got)
		if !slices.Equal(got, all) {
			t.Fatalf("%d lines came of %d", len(got), len(all))
		}
	}
}

func TestASilentStreamDelaysOthersByThePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent, silentEnd := io.Pipe()
		speaking, mouth := io.Pipe()
		lines := make(chan Line)
		done := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			done <- Lines(ctx, []Source{{"silent", silent}, {"speaking", speaking}}, nil, time.Second, func(l Line) error {
				lines <- l
				return nil
			})
		}()
		began := time.Now()
		go func() { _, _ = io.WriteString(mouth, at(5, "late")+"\n") }()
		if l := <-lines; l.Text != "late" || time.Since(began) != time.Second {
			t.Errorf("%q came after %v", l.Text, time.Since(began))
		}
		// What comes within the patience is put in order.
		go func() {
			_, _ = io.WriteString(mouth, at(9, "second")+"\n")
			time.Sleep(time.Second / 2)
			_, _ = io.WriteString(silentEnd, at(8, "first")+"\n")
		}()
		if a, b := <-lines, <-lines; a.Text != "first" || b.Text != "second" {
			t.Errorf("%q came before %q", a.Text, b.Text)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the end was %v", err)
		}
	})
}

func TestErrorsOfOneStreamDoNotEndTheOthers(t *testing.T) {
	broken, end := io.Pipe()
	go func() {
		_, _ = io.WriteString(end, at(1, "one")+"\n")
		_ = end.CloseWithError(errors.New("cut off"))
	}()
	var got []string
	err := Lines(t.Context(), []Source{{"a", broken}, source("b", at(2, "two"))}, nil, 0, func(l Line) error {
		got = append(got, l.Text)
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "a: cut off") || !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("%q, %v", got, err)
	}
	full := errors.New("the pipe is gone")
	if err := Lines(t.Context(), []Source{source("a", at(1, "one"), at(2, "two"))}, nil, 0, func(Line) error { return full }); !errors.Is(err, full) {
		t.Errorf("what could not be written gives %v", err)
	}
}

func TestAStreamThatIsOpenedAgainGoesOn(t *testing.T) {
	var b strings.Builder
	last, err := Continue(&b, strings.NewReader(at(1, "one")+"\n"+at(2, "two")+"\nmore of two\n"), time.Time{})
	if err != nil || last.Second() != 2 {
		t.Fatal(last, err)
	}
	last, err = Continue(&b, strings.NewReader(at(2, "two")+"\nmore of two\n"+at(3, "three")+"\n"), last)
	want := strings.Join([]string{at(1, "one"), at(2, "two"), "more of two", at(3, "three"), ""}, "\n")
	if err != nil || last.Second() != 3 || b.String() != want {
		t.Errorf("%v, %v: %q", last, err, b.String())
	}
	if again, err := Continue(&b, strings.NewReader(""), last); err != nil || !again.Equal(last) {
		t.Errorf("an empty stream moves the place to %v, %v", again, err)
	}
}

// TestSourcesMayComeLater: nothing ends before it is known that there are no more.
func TestSourcesMayComeLater(t *testing.T) {
	more := make(chan Source)
	told := make(chan Line, 9)
	done := make(chan error, 1)
	go func() {
		done <- Lines(t.Context(), []Source{source("a", at(1, "one"))}, more, time.Second, func(l Line) error {
			told <- l
			return nil
		})
	}()
	if l := <-told; l.Source != "a" || l.Text != "one" {
		t.Errorf("%+v", l)
	}
	more <- source("b", at(2, "two"), at(3, "three"))
	for _, want := range []string{"two", "three"} {
		if l := <-told; l.Source != "b" || l.Text != want {
			t.Errorf("%+v, want %s", l, want)
		}
	}
	select {
	case err := <-done:
		t.Errorf("it has ended, and more may come: %v", err)
	default:
	}
	close(more)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
