package scenario

import (
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const begin = "cluster 3\nelect\nput x 1\nsettle\nmark\n"

func play1(t *testing.T, text string) error {
	t.Helper()
	story, err := Parse("story.txt", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = story.Play(1, nil)
	return err
}

// TestWhatDoesNotHoldFails turns every kind of expectation round: each must hold as it stands, and fail where it should.
func TestWhatDoesNotHoldFails(t *testing.T) {
	for _, c := range []struct{ name, before, holds, fails string }{
		{"one leader", "", "expect one leader", "cut leader\nrun 3s\ncut all\nrun 3s\nexpect one leader"},
		{"one leader, too late", "let A = leader\ncut A\n", "expect one leader among all but A within 5s", "expect one leader among all but A within 100ms"},
		{"no leader", "", "cut all\nexpect no leader within 5s", "expect no leader within 5s"},
		{"leader is", "let A = leader\n", "expect leader is A", "expect leader is not A"},
		{"leader changed", "", "expect leader unchanged", "expect leader changed within 5s"},
		{"leader unchanged", "let B = follower\ntransfer to B\n", "expect leader changed", "expect leader unchanged"},
		{"agreement", "", "expect no agreement", "put x 2\nexpect no agreement"},
		{"equal", "let B = follower\n", "expect all applied equal", "cut B\nput x 2\nexpect all applied equal within 2s"},
		{"register", "", "expect x = 1 on all", "expect x = 2 on all"},
		{"another value", "", "expect x != 2 on all", "expect x != 1 on 1"},
		{"register of one that is down", "crash 2\n", "expect x = 1 on up", "expect x = 1 on all"},
		{"counter", "", "expect appends = 0", "put x 2\nexpect appends = 0"},
		{"counter, at least", "put x 2\n", "expect commits >= 1", "expect commits >= 2"},
		{"read", "", "get x = 1", "get x = 2"},
		{"swap", "", "swap x 1 2", "swap x 2 3"},
		{"swap that fails", "", "swap x 2 3 fails", "swap x 1 2 fails"},
		{"write without a quorum", "let A = leader\n", "cut followers but A\nstart put x 2\nrun 3s\nexpect 1 unanswered", "cut all\nput x 2"},
		{"answers", "start put x 2\n", "expect all answered within 5s", "expect 2 unanswered"},
		{"refusal", "", "offer 1 to followers", "submit 1 to followers"},
		{"voters", "", "expect voters 1,2,3", "expect voters 1,2"},
		{"learners", "", "expect learners none", "expect learners 3"},
		{"change that is taken", "let B = follower\n", "remove B", "cannot remove B"},
		{"change without a quorum", "let B = follower\nlet C = followers but B\ncrash C\nrun 2s\n", "cannot remove B", "cannot remove C"},
		{"log", "submit 50 to leader\nsettle\n", "expect log >= 50 on all", "expect log < 50 on leader"},
		{"election", "", "elect", "cut all\nrun 3s\nelect"},
		{"settle", "", "settle", "cut leader\nput x 3\nsettle"},
		{"nobody meant", "", "crash any-down", "crash follower but all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := play1(t, begin+c.before+c.holds); err != nil {
				t.Errorf("%s must hold: %v", c.holds, err)
			}
			err := play1(t, begin+c.before+c.fails)
			var f *Failure
			if !errors.As(err, &f) {
				t.Fatalf("%q must fail, it gives %v", c.fails, err)
			}
			lines := strings.Count(begin+c.before+c.fails, "\n") + 1
			if want := "story.txt:" + strconv.Itoa(lines); f.Place != want {
				t.Errorf("it fails at %s instead of %s: %v", f.Place, want, f.Cause)
			}
		})
	}
}

// TestAFailureTellsItsStory looks at what a person gets to read.
func TestAFailureTellsItsStory(t *testing.T) {
	err := play1(t, "# Once upon a time.\ncluster 3\nelect\nput x 1\nrepeat 2\n  crash follower\nend\nexpect x = 1 on all\nrun 1s\n")
	if err == nil {
		t.Fatal("it must fail")
	}
	text := err.Error()
	for _, want := range []string{
		`^story\.txt:8: expect x = 1 on all: machine \d is down\n`,
		`the story so far \(seed 1\):\n`,
		`\n +0\.000s  story\.txt:1  # Once upon a time\.\n`,
		`\n +\d+\.\d{3}s  story\.txt:3  elect  -> \d leads term \d+\n`,
		`(?s)(story\.txt:6  crash follower  -> \[\d\].*){2}`,
		`-scenario\.seed=1 -scenario\.trace\):\n`,
		`\n +\d+\.\d{6}s \[node [0-9a-f]+ \| term \d+ \| LEADER\] -> append `,
		`\n +\d+\.\d{6}s \[world\] story\.txt:8: expect x = 1 on all\n`,
		`committed membership`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("%s is missing in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "run 1s") {
		t.Error("the story goes on after its failure")
	}
}

// TestMistakesAreFoundBeforehand reads stories that say what cannot be played.
func TestMistakesAreFoundBeforehand(t *testing.T) {
	for line, want := range map[string]string{
		"jump":                          "unknown command",
		"put X 1":                       "not a register",
		"put x one":                     "not a number",
		"put x 1 in 3":                  "too much",
		"get x 1":                       `"=" is missing`,
		"run fast":                      "not a duration",
		"run 5s..1s":                    "not a duration",
		"loss 20":                       "not a percentage",
		"loss 200%":                     "not a percentage",
		"cut Bob":                       "no machine",
		"cut leader but":                "a machine is missing",
		"let 3 = leader":                "something else",
		"let all = leader":              "something else",
		"expect happiness":              "no counter",
		"expect appends about 3":        "no relation",
		"expect one leader within":      "a duration is missing",
		"expect leader":                 `"is" is missing`,
		"allow thunder":                 "unknown kind of fault",
		"maybe 30%":                     "a command is missing",
		"maybe 30% cluster 3":           "begins with cluster",
		"cluster 3":                     "begins with cluster",
		"cannot dance 3":                "no change of the membership",
		"repeat 3":                      "no end",
		"end":                           "unknown command",
		"repeat many\nend":              "not a number",
		"start swap x 1 2":              "put or get is missing",
		"partition 1,2 | Bob":           "no machine",
		"block 1 2":                     `"->" is missing`,
		"compact 5":                     `"keep" is missing`,
		"submit 1 at 3":                 `"to" is missing`,
		"expect some unanswered":        "not a number",
		"expect x = 1":                  `"on" is missing`,
		"expect leader changed because": "too much",
	} {
		story, err := Parse("story.txt", strings.NewReader("cluster 3\n\n"+line))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "story.txt:3: ") {
			t.Errorf("%q is read as %v, %v; %q is wanted", line, story, err, want)
		}
	}
	for text, want := range map[string]string{
		"elect":             "begins with cluster",
		"cluster 0":         "begins with 1 to 7",
		"cluster 8":         "begins with 1 to 7",
		"cluster 3 with 2":  `"spares" is missing`,
		"cluster":           "is missing",
		"cluster 3 machine": "too much",
	} {
		if _, err := Parse("story.txt", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is read as %v; %q is wanted", text, err, want)
		}
	}
	if err := play1(t, "# nothing"); err == nil {
		t.Error("a story without a cluster plays")
	}
	if err := play1(t, "cluster 3\ncrash 4"); err == nil || !strings.Contains(err.Error(), "no machine 4") {
		t.Errorf("a machine that is not there: %v", err)
	}
}

// TestAStoryGoesTheSameWayTwice plays one with much chance in it.
func TestAStoryGoesTheSameWayTwice(t *testing.T) {
	story := read(t, "testdata/kv-all.txt")
	hashes := map[uint64]uint64{}
	for seed := uint64(1); seed <= 5; seed++ {
		a, err := story.Play(seed, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := story.Play(seed, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if a != b {
			t.Errorf("seed %d: %+v, then, watched, %+v", seed, a, b)
		}
		if other, ok := hashes[a.Hash]; ok {
			t.Errorf("seeds %d and %d go the same way", other, seed)
		}
		hashes[a.Hash] = seed
	}
}

// TestTheListIsWhole names the stories that must be there.
func TestTheListIsWhole(t *testing.T) {
	for _, name := range strings.Fields(`
		initial-election re-election many-elections basic-agree rpc-bytes follower-failure leader-failure agree-after-reconnect
		no-agreement-without-quorum concurrent-starts rejoin-of-partitioned-leader fast-backup rpc-count-at-rest
		persistence-1 persistence-2 persistence-3 figure-8-paper figure-8 figure-8-unreliable churn-reliable churn-unreliable
		snapshot-basic snapshot-install snapshot-install-loss snapshot-install-crash restart-of-all
		membership-grow membership-shrink membership-replace-wiped membership-removed-leader
		kv-concurrency kv-unreliable kv-partition-one-client kv-stale-read kv-partitions-many-clients kv-restarts kv-snapshots kv-all`) {
		if story := read(t, "testdata/"+name+".txt"); story.Name != name {
			t.Errorf("%s is called %s", name, story.Name)
		}
	}
}
