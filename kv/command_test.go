package kv

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

func FuzzDecodeCommand(f *testing.F) {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 1)), model: newModel()}
	for range 50 {
		b, err := g.command().AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := DecodeCommand(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := c.AppendBinary(nil)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		second, err := DecodeCommand(again)
		if err != nil || !reflect.DeepEqual(c, second) {
			t.Fatalf("%+v became %+v, %v", c, second, err)
		}
	})
}

// FuzzApply feeds entries of any bytes to two machines: neither may fail or panic, and they must agree.
func FuzzApply(f *testing.F) {
	g := &generator{Rand: rand.New(rand.NewPCG(2, 2)), model: newModel()}
	for range 50 {
		b, err := AppendProposal(nil, session.Header{}, g.command())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var hashes []HashResult
		for _, flushBytes := range []int{1, 1 << 20} {
			o, _ := memory()
			o.FlushBytes = flushBytes
			h := newHarness(t, o)
			h.do(Put([]byte("a"), []byte("1")))
			h.do(OpenSession(1, 1))
			for range 2 {
				h.entry(raft.EntryNormal, data)
			}
			hashes = append(hashes, hashOf(t, h.machine))
		}
		if hashes[0] != hashes[1] {
			t.Fatalf("%+v and %+v", hashes[0], hashes[1])
		}
	})
}

func TestCommandsSurviveTheirEncoding(t *testing.T) {
	g := &generator{Rand: rand.New(rand.NewPCG(3, 3)), model: newModel()}
	g.model.revision = 100
	for range 2000 {
		c := g.command()
		b, err := c.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeCommand(b)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		again, err := got.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%+v became %+v, %v", c, got, err)
		}
		for n := range b {
			if _, err := DecodeCommand(b[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%d of %d bytes of %+v: %v", n, len(b), c, err)
			}
		}
	}
}

func TestMalformedCommandsAreResults(t *testing.T) {
	deep := Txn{}
	for range MaxTxnDepth {
		inner := deep
		deep = Txn{Success: []Op{{Kind: OpTxn, Txn: &inner}}}
	}
	if _, err := Transaction(deep).AppendBinary(nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("nested too deep: %v", err)
	}
	many := make([]Op, MaxCommandOps+1)
	for i := range many {
		many[i] = RangeOp(RangeRequest{Keys: All()})
	}
	tooMany := proposal(t, session.Header{}, Transaction(Txn{Success: many}))
	tooLong := proposal(t, session.Header{}, Put(make([]byte, MaxKeyBytes+1), nil))
	o, _ := memory()
	h := newHarness(t, o)
	for name, data := range map[string][]byte{
		"no header": {}, "no command": {0, 0, 0}, "newer format": {0, 0, 0, 2, 1}, "unknown kind": {0, 0, 0, 1, 9},
		"cut": {0, 0, 0, 1, 1, 0}, "many operations": tooMany, "long key": tooLong,
	} {
		if r := h.entry(raft.EntryNormal, data).(*Result); !errors.Is(r.Err, ErrMalformed) || r.Revision != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestTransactionsThatWriteAKeyTwiceAreRefused(t *testing.T) {
	put := func(key string) Op { return PutOp([]byte(key), nil) }
	remove := func(start, end string) Op { return DeleteOp(Span([]byte(start), []byte(end))) }
	nested := func(success, failure []Op) Op { return Op{Kind: OpTxn, Txn: &Txn{Success: success, Failure: failure}} }
	for _, c := range []struct {
		name             string
		success, failure []Op
		want             error
	}{
		{"one", []Op{put("a")}, nil, nil},
		{"two", []Op{put("a"), put("b")}, nil, nil},
		{"twice", []Op{put("a"), put("a")}, nil, ErrDuplicateKey},
		{"in both branches", []Op{put("a")}, []Op{put("a")}, nil},
		{"twice in the failure branch", nil, []Op{put("a"), put("a")}, ErrDuplicateKey},
		{"put and delete", []Op{put("a"), remove("a", "")}, nil, ErrDuplicateKey},
		{"delete and put", []Op{remove("a", "c"), put("b")}, nil, ErrDuplicateKey},
		{"beside a delete", []Op{remove("a", "c"), put("c")}, nil, nil},
		{"two deletes", []Op{remove("a", "c"), remove("b", "d")}, nil, nil},
		{"nested", []Op{put("a"), nested([]Op{put("a")}, nil)}, nil, ErrDuplicateKey},
		{"nested in its failure branch", []Op{nested(nil, []Op{put("a")}), put("a")}, nil, ErrDuplicateKey},
		{"nested in both of its branches", []Op{nested([]Op{put("a")}, []Op{remove("a", "z")}), put("0")}, nil, nil},
		{"under a nested delete", []Op{nested([]Op{remove("a", "z")}, nil), put("b")}, nil, ErrDuplicateKey},
		{"in two nested ones", []Op{nested([]Op{put("a")}, nil), nested(nil, []Op{put("a")})}, nil, ErrDuplicateKey},
		{"no key", []Op{put("")}, nil, ErrEmptyKey},
		{"no key beside others", []Op{put("a"), put("")}, nil, ErrEmptyKey},
	} {
		o, _ := memory()
		h := newHarness(t, o)
		command := Transaction(Txn{Success: c.success, Failure: c.failure})
		if err := command.CheckLimits(DefaultLimits()); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: the front end says %v, want %v", c.name, err, c.want)
		}
		r := h.do(command)
		if !errors.Is(r.Err, c.want) || (r.Err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, r.Err, c.want)
		}
		if rev, _ := h.machine.Revision(); c.want != nil && rev != 1 {
			t.Errorf("%s: it was refused and yet wrote", c.name)
		}
	}
}

func TestLimitsOfFrontEnds(t *testing.T) {
	l := Limits{MaxKeyBytes: 4, MaxValueBytes: 8, MaxTxnOps: 2}
	for _, c := range []struct {
		command Command
		what    string
	}{
		{Put([]byte("1234"), []byte("12345678")), ""},
		{Put([]byte("12345"), nil), "the key"},
		{Put([]byte("k"), make([]byte, 9)), "the value"},
		{Delete([]byte("12345")), "the key"},
		{CompareAndPut([]byte("12345"), 1, nil), "the key"},
		{DeleteRange(Span([]byte("1"), []byte("123456"))), "the end of the range"},
		{Transaction(Txn{Success: []Op{PutOp([]byte("a"), nil), PutOp([]byte("b"), nil), PutOp([]byte("c"), nil)}}), "the transaction"},
		{Transaction(Txn{Success: []Op{{Kind: OpTxn, Txn: &Txn{Success: []Op{PutOp([]byte("12345"), nil)}}}}}), "the key"},
		{Compact(3), ""},
	} {
		err := c.command.CheckLimits(l)
		var large *TooLargeError
		if c.what == "" && err != nil || c.what != "" && (!errors.As(err, &large) || large.What != c.what) {
			t.Errorf("%+v: %v, want %q", c.command, err, c.what)
		}
	}
	for _, c := range []Command{Put(nil, nil), Delete(nil)} {
		if err := c.CheckLimits(l); !errors.Is(err, ErrEmptyKey) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestWhatTheWidestLimitsLetPassIsWellFormed: a front end's limits may be as wide as the format, and what is past that is refused before it is
// proposed, with the limit named.
func TestWhatTheWidestLimitsLetPassIsWellFormed(t *testing.T) {
	widest := Limits{MaxKeyBytes: MaxKeyBytes - 1, MaxValueBytes: 1 << 20, MaxTxnOps: MaxCommandOps}
	zeros := make([]byte, MaxKeyBytes-1) // each takes two bytes in the index
	reads := func(n int) []Op {
		ops := make([]Op, n)
		for i := range ops {
			ops[i] = RangeOp(RangeRequest{Keys: One([]byte{1})})
		}
		return ops
	}
	nested := func(n int) Op { return Op{Kind: OpTxn, Txn: &Txn{Success: reads(n)}} }
	h := newHarness(t, Options{Dir: t.TempDir(), Synchronous: true})
	for _, x := range []struct {
		name    string
		command Command
		passes  bool
	}{
		{"the longest key", Put(zeros, []byte("v")), true},
		{"a longer one", Put(append(zeros, 0), nil), false},
		{"a range up to right behind it", DeleteRange(Span(zeros, append(zeros[:len(zeros):len(zeros)], 0))), true},
		{"the most operations", Transaction(Txn{Success: reads(MaxCommandOps)}), true},
		{"one more", Transaction(Txn{Success: reads(MaxCommandOps), Failure: reads(1)}), false},
		{"as many, nested", Transaction(Txn{Success: []Op{nested(MaxCommandOps - 1)}}), true},
		{"one more, nested", Transaction(Txn{Success: []Op{nested(MaxCommandOps - 2), nested(1)}}), false},
	} {
		err := x.command.CheckLimits(widest)
		var large *TooLargeError
		if x.passes && err != nil || !x.passes && !errors.As(err, &large) {
			t.Errorf("%s: %v", x.name, err)
		}
		if !x.passes {
			continue
		}
		if r := h.do(x.command); r.Err != nil {
			t.Errorf("%s: %v", x.name, r.Err)
		}
		if err := h.machine.FlushNow(); err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
	}
}

func TestResultsThatSessionsKeepAreSmall(t *testing.T) {
	worst := Result{Err: ErrCompacted, Succeeded: true, Revision: ^uint64(0), Deleted: ^uint64(0), Current: ^uint64(0), Session: ^uint64(0)}
	b := worst.encode()
	if len(b) > session.MaxResultBytes {
		t.Fatalf("%d bytes", len(b))
	}
	got, err := decodeResult(b)
	worst.Repeated = true
	if err != nil || !reflect.DeepEqual(*got, worst) {
		t.Fatalf("%+v became %+v, %v", worst, got, err)
	}
}
