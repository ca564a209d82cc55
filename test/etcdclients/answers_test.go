package etcdclients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// answersFile holds what a real etcd answers to the questions of this test, one line for each.
const answersFile = "testdata/answers.txt"

// etcdProgram is an etcd (3.6.16 the last time): with it the file is written anew, from what that says.
var etcdProgram = flag.String("etcd", "", "write "+answersFile+" from the answers of this program")

// interview asks a server that is new, and writes down what it says.
type interview struct {
	t    *testing.T
	conn *grpc.ClientConn
	out  []answer
	seen map[string]bool
	// cluster and member are the IDs in headers.
	cluster, member uint64
}

// answer is what was said to a question.
type answer struct{ question, text string }

// note writes an answer down.
func (i *interview) note(question string, text string) {
	i.t.Helper()
	if i.seen[question] {
		i.t.Fatalf("%s is asked twice", question)
	}
	i.seen[question] = true
	// Errors of protobuf have one kind of space or another, by the build.
	i.out = append(i.out, answer{question, strings.NewReplacer("\n", " ", "\u00a0", " ").Replace(text)})
}

// refused is an error as a client has it.
func refused(err error) string {
	s := status.Convert(err)
	return fmt.Sprintf("%s: %s", s.Code(), s.Message())
}

// ask notes the answer to a call.
func ask[Q, A any](i *interview, question string, call func(context.Context, Q, ...grpc.CallOption) (A, error), request Q, hide ...func(A)) A {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := call(ctx, request)
	if err != nil {
		i.note(question, refused(err))
		return a
	}
	for _, h := range hide {
		h(a)
	}
	i.note(question, i.text(a))
	return a
}

// text is a message without what differs between two servers that say the same: IDs and the term, which become 1 where they are as they should be.
func (i *interview) text(message any) string {
	i.t.Helper()
	i.level(reflect.ValueOf(message))
	return strings.TrimSpace(fmt.Sprint(message))
}

func (i *interview) level(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if h, ok := v.Interface().(*pb.ResponseHeader); ok {
			i.levelHeader(h)
			return
		}
		i.level(v.Elem())
	case reflect.Interface:
		if !v.IsNil() {
			i.level(v.Elem())
		}
	case reflect.Struct:
		for n := range v.NumField() {
			if v.Type().Field(n).IsExported() {
				i.level(v.Field(n))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for n := range v.Len() {
				i.level(v.Index(n))
			}
		}
	}
}

func (i *interview) levelHeader(h *pb.ResponseHeader) {
	if h.ClusterId == 0 { // those within a transaction have a revision only
		return
	}
	if i.cluster == 0 {
		i.cluster, i.member = h.ClusterId, h.MemberId
	}
	if h.ClusterId == i.cluster {
		h.ClusterId = 1
	}
	if h.MemberId == i.member {
		h.MemberId = 1
	}
	if h.RaftTerm > 0 {
		h.RaftTerm = 1
	}
}

// watching is a stream of watches.
type watching struct {
	*interview
	name   string
	stream grpc.BidiStreamingClient[pb.WatchRequest, pb.WatchResponse]
	asked  int
}

func (i *interview) watch(name string) (w *watching, end func()) {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	stream, err := pb.NewWatchClient(i.conn).Watch(ctx)
	if err != nil {
		i.t.Fatal(err)
	}
	return &watching{interview: i, name: name, stream: stream}, cancel
}

func (w *watching) send(r *pb.WatchRequest) {
	w.t.Helper()
	if err := w.stream.Send(r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watching) create(r *pb.WatchCreateRequest) {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

func (w *watching) cancel(id int64) {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *watching) progress() {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

// hear notes so many responses.
func (w *watching) hear(what string, responses int) {
	w.t.Helper()
	for n := range responses {
		r, err := w.stream.Recv()
		w.asked++
		question := fmt.Sprintf("watch %s: %s %d", w.name, what, n+1)
		if err != nil {
			w.note(question, refused(err))
			return
		}
		w.note(question, w.text(r))
	}
}

// differences are the questions to which raftkv's answer is another, with it and why.
var differences = map[string]struct{ text, why string }{
	"put that is too large for a message":      {"ResourceExhausted: grpc: received message larger than max (3000008 vs. 2116607)", "the longest key is allowed for"},
	"txn with an unknown relation":             {"InvalidArgument: etcdserver: malformed command", "etcd takes what it does not know for true"},
	"txn with an unknown target":               {"InvalidArgument: etcdserver: malformed command", "etcd takes what it does not know for true"},
	"txn that deletes all from a key and puts": {"InvalidArgument: etcdserver: duplicate key given in txn request", "a key that is deleted and put is refused, which etcd overlooks in a range without an end"},
	"watch compacted: too early 2": {
		`header:<cluster_id:1 member_id:1 revision:29 raft_term:1 > canceled:true compact_revision:12 cancel_reason:"etcdserver: mvcc: required revision has been compacted"`,
		"the reason is told in words too",
	},
	"hash up to the compacted revision": {
		"header:<cluster_id:1 member_id:1 revision:29 raft_term:1 > hash:1 compact_revision:12 hash_revision:12", "etcd tells what it had compacted before that",
	},
	"hash of a revision below zero": {"header:<cluster_id:1 member_id:1 revision:29 raft_term:1 > hash:1 compact_revision:12 hash_revision:29", "it is that of all, and says so"},
	"alarm: raise nothing":          {"InvalidArgument: etcdserver: malformed command: an alarm without a type", "etcd says nothing and does nothing"},
	"remove the only one":           {"FailedPrecondition: etcdserver: re-configuration failed due to not enough started members", "the code that etcd's own list of errors has for it"},
	"lock with no such lease":       {"NotFound: etcdserver: requested lease not found", "etcd's lock service loses the codes of its own errors"},
	"campaign with no such lease":   {"NotFound: etcdserver: requested lease not found", "etcd's election service loses the codes of its own errors"},
	"unlock nothing":                {"InvalidArgument: etcdserver: key is not provided", "etcd's lock service loses the codes of its own errors"},
	"campaign again": {
		`header:<cluster_id:1 member_id:1 revision:34 raft_term:1 > leader:<name:"vote" key:"vote/a1" rev:33 lease:161 >`,
		"the revision is that at which it was seen to lead, with its value written",
	},
	"JSON: health": {`200 application/json {"health":"true","reason":""}`, "what is JSON says so"},
	"users":        {"Unimplemented: method UserList not implemented", "there are no users"},
	"roles":        {"Unimplemented: method RoleList not implemented", "there are no roles"},
}

// TestAnswersAreThoseOfEtcd asks a node of raftkv, new and alone, all that a client can ask, and what it must not, and compares codes, texts, headers and all other fields
// with what etcd said to the same questions in the same order.
func TestAnswersAreThoseOfEtcd(t *testing.T) {
	if *etcdProgram != "" {
		writeAnswers(t)
		return
	}
	got := conduct(t, own(t, 1, "--auto-compaction-retention=0").nodes[0].client)
	want := readAnswers(t)
	for n, a := range got {
		expected, differs := want[a.question], false
		if d, ok := differences[a.question]; ok {
			if expected == d.text {
				t.Errorf("%s: is said to differ (%s), and does not", a.question, d.why)
			}
			expected, differs = d.text, true
		}
		if _, ok := want[a.question]; !ok && !differs {
			t.Errorf("%s: etcd was not asked", a.question)
		}
		if a.text != expected {
			t.Errorf("%d %s:\n got %s\nwant %s", n, a.question, a.text, expected)
		}
		delete(want, a.question)
	}
	for question := range want {
		t.Errorf("%s: was not asked", question)
	}
}

func readAnswers(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(answersFile)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	out := map[string]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if question, text, ok := strings.Cut(lines.Text(), " => "); ok {
			out[question] = text
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// writeAnswers asks etcd.
func writeAnswers(t *testing.T) {
	t.Helper()
	dir, address, peer := t.TempDir(), freeAddress(), freeAddress()
	cmd := exec.Command(*etcdProgram, "--name=default", "--data-dir="+filepath.Join(dir, "data"), "--listen-client-urls=http://"+address, "--advertise-client-urls=http://"+address,
		"--listen-peer-urls=http://"+peer, "--initial-advertise-peer-urls=http://"+peer, "--initial-cluster=default=http://"+peer, "--log-level=error")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var b strings.Builder
	for _, a := range conduct(t, address) {
		b.WriteString(a.question + " => " + a.text + "\n")
	}
	if err := os.WriteFile(answersFile, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func conduct(t *testing.T, address string) []answer {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	i := &interview{t: t, conn: conn, seen: map[string]bool{}}
	eventually(t, "the server serves", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("x")})
		return err == nil
	})
	i.aboutKeys()
	i.aboutTransactions()
	i.aboutWatches()
	i.aboutLeases()
	i.aboutCompaction()
	i.aboutMaintenance()
	i.aboutMembers()
	i.aboutRows()
	i.aboutJSON(address)
	i.aboutUsers()
	return i.out
}

func b(s string) []byte { return []byte(s) }

func (i *interview) aboutKeys() {
	kv := pb.NewKVClient(i.conn)
	ask(i, "range of nothing", kv.Range, &pb.RangeRequest{Key: b("x")})
	ask(i, "range without a key", kv.Range, &pb.RangeRequest{})
	ask(i, "range with an end only", kv.Range, &pb.RangeRequest{RangeEnd: b("z")})
	ask(i, "range in an unknown order", kv.Range, &pb.RangeRequest{Key: b("x"), SortOrder: 7})
	ask(i, "range by an unknown target", kv.Range, &pb.RangeRequest{Key: b("x"), SortTarget: 9})
	ask(i, "range without a key in an unknown order", kv.Range, &pb.RangeRequest{SortOrder: 7})
	ask(i, "put without a key", kv.Put, &pb.PutRequest{Value: b("v")})
	ask(i, "put", kv.Put, &pb.PutRequest{Key: b("a"), Value: b("1")})
	ask(i, "put over it", kv.Put, &pb.PutRequest{Key: b("a"), Value: b("2"), PrevKv: true})
	ask(i, "put of nothing", kv.Put, &pb.PutRequest{Key: b("b"), PrevKv: true})
	ask(i, "put that keeps a value and has one", kv.Put, &pb.PutRequest{Key: b("a"), Value: b("2"), IgnoreValue: true})
	ask(i, "put that keeps a lease and has one", kv.Put, &pb.PutRequest{Key: b("a"), Lease: 7, IgnoreLease: true})
	ask(i, "put that keeps the value of no key", kv.Put, &pb.PutRequest{Key: b("none"), IgnoreValue: true})
	ask(i, "put that keeps the lease of no key", kv.Put, &pb.PutRequest{Key: b("none"), IgnoreLease: true})
	ask(i, "put that keeps the value", kv.Put, &pb.PutRequest{Key: b("a"), IgnoreValue: true, PrevKv: true})
	ask(i, "put with a lease that is none", kv.Put, &pb.PutRequest{Key: b("a"), Lease: 7})
	ask(i, "put that is too large", kv.Put, &pb.PutRequest{Key: b("a"), Value: make([]byte, 1_600_000)})
	ask(i, "put that is too large for a message", kv.Put, &pb.PutRequest{Key: b("a"), Value: make([]byte, 3_000_000)})
	for _, k := range []string{"c", "d", "e"} {
		ask(i, "put "+k, kv.Put, &pb.PutRequest{Key: b(k), Value: b(strings.Repeat(k, 3))})
	}
	ranges := map[string]*pb.RangeRequest{
		"all":                     {Key: b("a"), RangeEnd: b("f")},
		"from":                    {Key: b("c"), RangeEnd: []byte{0}},
		"everything":              {Key: []byte{0}, RangeEnd: []byte{0}},
		"backwards":               {Key: b("f"), RangeEnd: b("a")},
		"a limit":                 {Key: b("a"), RangeEnd: b("f"), Limit: 2},
		"a limit of all":          {Key: b("a"), RangeEnd: b("f"), Limit: 5},
		"a limit below zero":      {Key: b("a"), RangeEnd: b("f"), Limit: -1},
		"keys only":               {Key: b("a"), RangeEnd: b("f"), KeysOnly: true},
		"count only":              {Key: b("a"), RangeEnd: b("f"), CountOnly: true},
		"count only with a limit": {Key: b("a"), RangeEnd: b("f"), CountOnly: true, Limit: 1},
		"by value":                {Key: b("a"), RangeEnd: b("f"), SortTarget: pb.RangeRequest_VALUE, SortOrder: pb.RangeRequest_DESCEND, Limit: 2},
		"by version":              {Key: b("a"), RangeEnd: b("f"), SortTarget: pb.RangeRequest_VERSION},
		"by mod":                  {Key: b("a"), RangeEnd: b("f"), SortTarget: pb.RangeRequest_MOD, SortOrder: pb.RangeRequest_DESCEND},
		"by create":               {Key: b("a"), RangeEnd: b("f"), SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_ASCEND, KeysOnly: true},
		"least mod":               {Key: b("a"), RangeEnd: b("f"), MinModRevision: 5},
		"most mod":                {Key: b("a"), RangeEnd: b("f"), MaxModRevision: 5},
		"least create":            {Key: b("a"), RangeEnd: b("f"), MinCreateRevision: 5, Limit: 1},
		"most create":             {Key: b("a"), RangeEnd: b("f"), MaxCreateRevision: 2},
		"mod below zero":          {Key: b("a"), RangeEnd: b("f"), MinModRevision: -3, MaxModRevision: -2},
		"an old revision":         {Key: b("a"), Revision: 2},
		"before all":              {Key: b("a"), Revision: 1},
		"a revision below zero":   {Key: b("a"), Revision: -4},
		"a revision to come":      {Key: b("a"), Revision: 1000},
		"an old state":            {Key: b("a"), Serializable: true},
	}
	for _, name := range slices.Sorted(maps.Keys(ranges)) {
		ask(i, "range "+name, kv.Range, ranges[name])
	}
	ask(i, "delete without a key", kv.DeleteRange, &pb.DeleteRangeRequest{})
	ask(i, "delete with an end only", kv.DeleteRange, &pb.DeleteRangeRequest{RangeEnd: b("z")})
	ask(i, "delete nothing", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("none"), PrevKv: true})
	ask(i, "delete", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("e")})
	ask(i, "delete a range", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("c"), RangeEnd: b("e"), PrevKv: true})
	ask(i, "delete backwards", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("z"), RangeEnd: b("a")})
	ask(i, "put again what was deleted", kv.Put, &pb.PutRequest{Key: b("c"), Value: b("again"), PrevKv: true})
	ask(i, "range what was put again", kv.Range, &pb.RangeRequest{Key: b("c")})
}

func put(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: b(key), Value: b(value)}}}
}

func get(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func del(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: b(key), RangeEnd: b(end)}}}
}

func inner(success, failure []*pb.RequestOp, compares ...*pb.Compare) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Compare: compares, Success: success, Failure: failure}}}
}

func ops(o ...*pb.RequestOp) []*pb.RequestOp { return o }

func many(n int) []*pb.RequestOp {
	var out []*pb.RequestOp
	for k := range n {
		out = append(out, get(&pb.RangeRequest{Key: b(fmt.Sprint("many", k))}))
	}
	return out
}

func (i *interview) aboutTransactions() {
	kv := pb.NewKVClient(i.conn)
	version := func(key, end string, n int64, r pb.Compare_CompareResult) *pb.Compare {
		return &pb.Compare{Key: b(key), RangeEnd: b(end), Target: pb.Compare_VERSION, Result: r, TargetUnion: &pb.Compare_Version{Version: n}}
	}
	always, never := version("none", "", 0, pb.Compare_EQUAL), version("none", "", 1, pb.Compare_EQUAL)
	for _, x := range []struct {
		name string
		r    *pb.TxnRequest
	}{
		{"of nothing", &pb.TxnRequest{}},
		{"with an operation of nothing", &pb.TxnRequest{Success: ops(&pb.RequestOp{})}},
		{"with a compare without a key", &pb.TxnRequest{Compare: []*pb.Compare{{Target: pb.Compare_VERSION}}}},
		{"with a compare with an end only", &pb.TxnRequest{Compare: []*pb.Compare{{RangeEnd: b("z"), Target: pb.Compare_VERSION}}}},
		{"with a put without a key", &pb.TxnRequest{Success: ops(put("", "v"))}},
		{"with a range without a key", &pb.TxnRequest{Success: ops(get(&pb.RangeRequest{}))}},
		{"with a deletion without a key", &pb.TxnRequest{Success: ops(del("", ""))}},
		{"with a range in an unknown order", &pb.TxnRequest{Failure: ops(get(&pb.RangeRequest{Key: b("a"), SortOrder: 9}))}},
		{"of as many as may be", &pb.TxnRequest{Success: many(128)}},
		{"of too many", &pb.TxnRequest{Success: many(129)}},
		{"of too many otherwise", &pb.TxnRequest{Failure: many(129)}},
		{"of too many compares", &pb.TxnRequest{Compare: func() (out []*pb.Compare) {
			for range 129 {
				out = append(out, always)
			}
			return out
		}()}},
		{"of too many within", &pb.TxnRequest{Success: append(many(64), inner(many(64), nil))}},
		{"of as many as may be within", &pb.TxnRequest{Success: append(many(63), inner(many(64), many(64)))}},
		{"that puts twice", &pb.TxnRequest{Success: ops(put("t", "1"), put("t", "2"))}},
		{"that puts twice otherwise", &pb.TxnRequest{Failure: ops(put("t", "1"), put("t", "2"))}},
		{"that puts in both branches", &pb.TxnRequest{Success: ops(put("t", "1")), Failure: ops(put("t", "2"))}},
		{"that puts and deletes", &pb.TxnRequest{Success: ops(put("t", "1"), del("t", ""))}},
		{"that deletes a range and puts", &pb.TxnRequest{Success: ops(del("s", "u"), put("t", "1"))}},
		{"that deletes beside what it puts", &pb.TxnRequest{Success: ops(del("s", "t"), put("t", "1"))}},
		{"that deletes twice", &pb.TxnRequest{Success: ops(del("t", ""), del("s", "u"))}},
		{"that puts within and without", &pb.TxnRequest{Success: ops(put("t", "1"), inner(ops(put("t", "2")), nil))}},
		{"that puts in both branches within", &pb.TxnRequest{Success: ops(inner(ops(put("t", "2")), ops(put("t", "3"))))}},
		{"that puts in two within", &pb.TxnRequest{Success: ops(inner(ops(put("t", "2")), nil), inner(ops(put("t", "3")), nil))}},
		{"that deletes without and puts within", &pb.TxnRequest{Success: ops(del("s", "u"), inner(nil, ops(put("t", "3"))))}},
		{"that puts without and deletes within", &pb.TxnRequest{Success: ops(put("t", "3"), inner(nil, ops(del("s", "u"))))}},
		{"that deletes within and puts within", &pb.TxnRequest{Success: ops(inner(ops(del("t", "")), nil), inner(ops(put("t", "1")), nil))}},
		{"with all operations", &pb.TxnRequest{Success: ops(put("t", "1"), get(&pb.RangeRequest{Key: b("t")}), del("u", "v"), inner(ops(put("w", "1")), nil, always), get(&pb.RangeRequest{Key: b("t"), CountOnly: true}))}},
		{"that keeps the value of no key", &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: b("none"), IgnoreValue: true}}})}},
		{"that keeps a value and has one", &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: b("none"), Value: b("x"), IgnoreValue: true}}})}},
		{"with a lease that is none", &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: b("t"), Lease: 99}}})}},
		{"with a lease that is none in the other branch", &pb.TxnRequest{Failure: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: b("t"), Lease: 99}}})}},
		{"that reads a revision to come", &pb.TxnRequest{Success: ops(get(&pb.RangeRequest{Key: b("t"), Revision: 1000}))}},
		{"that writes and reads a revision to come", &pb.TxnRequest{Success: ops(put("t", "lost"), get(&pb.RangeRequest{Key: b("t"), Revision: 1000}))}},
		{"that reads an old revision", &pb.TxnRequest{Success: ops(get(&pb.RangeRequest{Key: b("a"), Revision: 2}))}},
		{"that reads serializably", &pb.TxnRequest{Success: ops(get(&pb.RangeRequest{Key: b("a"), Serializable: true}))}},
		{"with a value of no key", &pb.TxnRequest{Compare: []*pb.Compare{{Key: b("none"), Target: pb.Compare_VALUE, Result: pb.Compare_NOT_EQUAL, TargetUnion: &pb.Compare_Value{Value: b("x")}}}}},
		{"with a value of no key in a range", &pb.TxnRequest{Compare: []*pb.Compare{{Key: b("none"), RangeEnd: b("nonf"), Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL}}}},
		{"with a version of no key", &pb.TxnRequest{Compare: []*pb.Compare{version("none", "", 0, pb.Compare_EQUAL)}}},
		{"with a version of no key in a range", &pb.TxnRequest{Compare: []*pb.Compare{version("none", "nonf", 0, pb.Compare_GREATER)}}},
		{"with a version of a range", &pb.TxnRequest{Compare: []*pb.Compare{version("a", "c", 0, pb.Compare_GREATER)}}},
		{"with a lease of a key", &pb.TxnRequest{Compare: []*pb.Compare{{Key: b("a"), Target: pb.Compare_LEASE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Lease{}}}}},
		{"with an unknown relation", &pb.TxnRequest{Compare: []*pb.Compare{{Key: b("a"), Target: pb.Compare_VERSION, Result: 9}}}},
		{"with an unknown target", &pb.TxnRequest{Compare: []*pb.Compare{{Key: b("a"), Target: 9}}}},
		{"with a target that is not given", &pb.TxnRequest{Compare: []*pb.Compare{{Key: b("a"), Target: pb.Compare_VALUE, Result: pb.Compare_GREATER}}}},
		{"that fails", &pb.TxnRequest{Compare: []*pb.Compare{never}, Failure: ops(get(&pb.RangeRequest{Key: b("t"), Limit: 1}))}},
	} {
		ask(i, "txn "+x.name, kv.Txn, x.r)
	}
}

func (i *interview) aboutWatches() {
	kv := pb.NewKVClient(i.conn)
	w, end := i.watch("control")
	w.progress()
	w.create(&pb.WatchCreateRequest{Key: b("w")})
	w.hear("the first", 1)
	w.create(&pb.WatchCreateRequest{Key: b("w"), WatchId: 5})
	w.hear("of an ID", 1)
	w.create(&pb.WatchCreateRequest{Key: b("w"), WatchId: 5})
	w.hear("of an ID that is taken", 1)
	w.create(&pb.WatchCreateRequest{Key: b("z"), RangeEnd: b("a")})
	w.hear("of an empty range", 1)
	w.create(&pb.WatchCreateRequest{Key: b("w"), StartRevision: -2})
	w.hear("from below zero", 1)
	w.create(&pb.WatchCreateRequest{Key: b("w"), WatchId: -7})
	w.hear("of an ID below zero", 1)
	w.send(&pb.WatchRequest{})
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{}})
	w.create(&pb.WatchCreateRequest{})
	w.hear("without a key", 1)
	w.create(&pb.WatchCreateRequest{Key: b("w"), StartRevision: 1_000_000})
	w.hear("from a revision to come", 1)
	w.cancel(5)
	w.hear("cancelled", 1)
	w.cancel(5)
	w.cancel(4711)
	w.create(&pb.WatchCreateRequest{Key: b("w"), WatchId: 5})
	w.hear("of an ID that was cancelled", 1)
	end()

	w, end = i.watch("events")
	w.create(&pb.WatchCreateRequest{Key: b("w"), RangeEnd: b("x"), PrevKv: true})
	w.hear("created", 1)
	ask(i, "put what is watched", kv.Put, &pb.PutRequest{Key: b("w1"), Value: b("1")})
	w.hear("a put", 1)
	ask(i, "put it again", kv.Put, &pb.PutRequest{Key: b("w1"), Value: b("2")})
	w.hear("a put over it", 1)
	ask(i, "delete what is watched", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("w1")})
	w.hear("a deletion", 1)
	ask(i, "txn of what is watched", kv.Txn, &pb.TxnRequest{Success: ops(put("w3", "3"), put("w2", "2"))})
	w.hear("a transaction", 1)
	ask(i, "put what is not watched", kv.Put, &pb.PutRequest{Key: b("x"), Value: b("1")})
	w.progress()
	w.hear("progress", 1)
	end()

	w, end = i.watch("no puts")
	w.create(&pb.WatchCreateRequest{Key: b("f"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}})
	w.hear("created", 1)
	ask(i, "put what is filtered", kv.Put, &pb.PutRequest{Key: b("f"), Value: b("1")})
	ask(i, "delete what is filtered", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("f")})
	w.hear("a deletion", 1)
	end()
}

func (i *interview) aboutLeases() {
	l, kv := pb.NewLeaseClient(i.conn), pb.NewKVClient(i.conn)
	ask(i, "grant an ID", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 11, TTL: 600})
	ask(i, "grant it again", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 11, TTL: 600})
	ask(i, "grant too long", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 12, TTL: 9_000_000_001})
	ask(i, "grant the longest", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 13, TTL: 9_000_000_000})
	ask(i, "grant the shortest", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 14, TTL: 1})
	ask(i, "grant nothing", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 15})
	ask(i, "grant less than nothing", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 16, TTL: -5})
	ask(i, "grant an ID below zero", l.LeaseGrant, &pb.LeaseGrantRequest{ID: -17, TTL: 600})
	ask(i, "grant any", l.LeaseGrant, &pb.LeaseGrantRequest{TTL: 600}, func(r *pb.LeaseGrantResponse) {
		if _, err := l.LeaseRevoke(context.Background(), &pb.LeaseRevokeRequest{ID: r.ID}); err != nil || r.ID <= 0 {
			i.t.Errorf("the lease %d: %v", r.ID, err)
		}
		r.ID = 1
	})
	for _, id := range []int64{14, 15, 16, -17} {
		ask(i, fmt.Sprint("revoke ", id), l.LeaseRevoke, &pb.LeaseRevokeRequest{ID: id})
	}
	ask(i, "revoke none", l.LeaseRevoke, &pb.LeaseRevokeRequest{ID: 4711})
	ask(i, "revoke zero", l.LeaseRevoke, &pb.LeaseRevokeRequest{})
	ask(i, "put with a lease", kv.Put, &pb.PutRequest{Key: b("l1"), Value: b("1"), Lease: 11})
	ask(i, "put another with it", kv.Put, &pb.PutRequest{Key: b("l2"), Value: b("1"), Lease: 11})
	ask(i, "put that keeps its lease", kv.Put, &pb.PutRequest{Key: b("l1"), Value: b("2"), IgnoreLease: true, PrevKv: true})
	ask(i, "put that takes the lease off", kv.Put, &pb.PutRequest{Key: b("l2"), Value: b("2")})
	ask(i, "put it back", kv.Put, &pb.PutRequest{Key: b("l2"), Value: b("2"), Lease: 11})
	remaining := func(r *pb.LeaseTimeToLiveResponse) {
		if r.TTL > 500 && r.TTL <= 600 {
			r.TTL = 599
		}
	}
	ask(i, "time to live", l.LeaseTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 11}, remaining)
	ask(i, "time to live with keys", l.LeaseTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 11, Keys: true}, remaining)
	ask(i, "time to live of none", l.LeaseTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 4711, Keys: true})
	ask(i, "list of leases", l.LeaseLeases, &pb.LeaseLeasesRequest{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := l.LeaseKeepAlive(ctx)
	if err != nil {
		i.t.Fatal(err)
	}
	for _, id := range []int64{11, 4711, 0} {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
			i.t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			i.t.Fatal(err)
		}
		i.note(fmt.Sprint("keep alive ", id), i.text(r))
	}
	if err := stream.CloseSend(); err != nil {
		i.t.Fatal(err)
	}
	_, err = stream.Recv()
	i.note("the end of renewals", refusedOrEnd(err))
	ask(i, "revoke with keys", l.LeaseRevoke, &pb.LeaseRevokeRequest{ID: 11})
	ask(i, "range what went with it", kv.Range, &pb.RangeRequest{Key: b("l"), RangeEnd: b("m")})
	ask(i, "revoke the longest", l.LeaseRevoke, &pb.LeaseRevokeRequest{ID: 13})
}

func refusedOrEnd(err error) string {
	if errors.Is(err, io.EOF) {
		return "the end"
	}
	return refused(err)
}

func (i *interview) aboutCompaction() {
	kv, m := pb.NewKVClient(i.conn), pb.NewMaintenanceClient(i.conn)
	ask(i, "compact below zero", kv.Compact, &pb.CompactionRequest{Revision: -3})
	ask(i, "compact a revision to come", kv.Compact, &pb.CompactionRequest{Revision: 1000})
	ask(i, "compact", kv.Compact, &pb.CompactionRequest{Revision: 12, Physical: true})
	ask(i, "compact it again", kv.Compact, &pb.CompactionRequest{Revision: 12})
	ask(i, "compact what was compacted", kv.Compact, &pb.CompactionRequest{Revision: 3})
	ask(i, "compact zero", kv.Compact, &pb.CompactionRequest{})
	ask(i, "range what was compacted", kv.Range, &pb.RangeRequest{Key: b("a"), Revision: 3})
	ask(i, "range at the compacted revision", kv.Range, &pb.RangeRequest{Key: b("a"), Revision: 12})
	ask(i, "txn that reads what was compacted", kv.Txn, &pb.TxnRequest{Success: ops(get(&pb.RangeRequest{Key: b("a"), Revision: 3}))})
	ask(i, "txn that writes and reads what was compacted", kv.Txn, &pb.TxnRequest{Success: ops(put("a", "lost"), get(&pb.RangeRequest{Key: b("a"), Revision: 3}))})
	w, end := i.watch("compacted")
	w.create(&pb.WatchCreateRequest{Key: b("a"), StartRevision: 3})
	w.hear("too early", 2)
	w.create(&pb.WatchCreateRequest{Key: b("w"), RangeEnd: b("x"), StartRevision: 13})
	w.hear("of what is left", 2)
	end()
	hash := func(r *pb.HashKVResponse) {
		if r.Hash != 0 {
			r.Hash = 1
		}
	}
	ask(i, "hash of all", m.HashKV, &pb.HashKVRequest{}, hash)
	ask(i, "hash up to a revision", m.HashKV, &pb.HashKVRequest{Revision: 14}, hash)
	ask(i, "hash up to the compacted revision", m.HashKV, &pb.HashKVRequest{Revision: 12}, hash)
	ask(i, "hash of what was compacted", m.HashKV, &pb.HashKVRequest{Revision: 3}, hash)
	ask(i, "hash of a revision to come", m.HashKV, &pb.HashKVRequest{Revision: 1000}, hash)
	ask(i, "hash of a revision below zero", m.HashKV, &pb.HashKVRequest{Revision: -1}, hash)
	ask(i, "hash of the file", m.Hash, &pb.HashRequest{}, func(r *pb.HashResponse) {
		if r.Hash != 0 {
			r.Hash = 1
		}
	})
}

func (i *interview) aboutMaintenance() {
	kv, m := pb.NewKVClient(i.conn), pb.NewMaintenanceClient(i.conn)
	ask(i, "status", m.Status, &pb.StatusRequest{}, func(r *pb.StatusResponse) {
		if r.Leader == i.member {
			r.Leader = 1
		}
		if r.RaftIndex == 0 || r.RaftIndex < r.RaftAppliedIndex || r.RaftAppliedIndex == 0 || r.DbSize < r.DbSizeInUse || r.DbSizeInUse == 0 || r.RaftTerm == 0 {
			i.t.Errorf("the status is %v", r)
		}
		r.RaftIndex, r.RaftAppliedIndex, r.DbSize, r.DbSizeInUse, r.RaftTerm = 1, 1, 1, 1, 1
		if strings.HasPrefix(r.Version, "3.6.") {
			r.Version = "3.6"
		}
	})
	member := func(r *pb.AlarmResponse) {
		for _, a := range r.Alarms {
			if a.MemberID == i.member {
				a.MemberID = 1
			}
		}
	}
	alarm := func(what string, action pb.AlarmRequest_AlarmAction, kind pb.AlarmType, id uint64) {
		ask(i, "alarm: "+what, m.Alarm, &pb.AlarmRequest{Action: action, Alarm: kind, MemberID: id}, member)
	}
	alarm("none", pb.AlarmRequest_GET, pb.AlarmType_NONE, 0)
	alarm("lower what is not up", pb.AlarmRequest_DEACTIVATE, pb.AlarmType_NOSPACE, i.member)
	alarm("lower none", pb.AlarmRequest_DEACTIVATE, pb.AlarmType_NONE, 0)
	alarm("raise nothing", pb.AlarmRequest_ACTIVATE, pb.AlarmType_NONE, i.member)
	alarm("raise", pb.AlarmRequest_ACTIVATE, pb.AlarmType_NOSPACE, i.member)
	alarm("raise again", pb.AlarmRequest_ACTIVATE, pb.AlarmType_NOSPACE, i.member)
	alarm("list all", pb.AlarmRequest_GET, pb.AlarmType_NONE, 0)
	alarm("list those", pb.AlarmRequest_GET, pb.AlarmType_NOSPACE, 0)
	alarm("list others", pb.AlarmRequest_GET, pb.AlarmType_CORRUPT, 0)
	alarm("lower", pb.AlarmRequest_DEACTIVATE, pb.AlarmType_NOSPACE, i.member)
	alarm("list none", pb.AlarmRequest_GET, pb.AlarmType_NONE, 0)
	ask(i, "put after the alarm", kv.Put, &pb.PutRequest{Key: b("m"), Value: b("1")})
	ask(i, "defragment", m.Defragment, &pb.DefragmentRequest{})
	ask(i, "move the leader to itself", m.MoveLeader, &pb.MoveLeaderRequest{TargetID: i.member})
	ask(i, "move the leader to nobody", m.MoveLeader, &pb.MoveLeaderRequest{TargetID: 4711})
	ask(i, "move the leader to zero", m.MoveLeader, &pb.MoveLeaderRequest{})
	for _, action := range []pb.DowngradeRequest_DowngradeAction{pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE, pb.DowngradeRequest_CANCEL} {
		ask(i, "downgrade "+action.String(), m.Downgrade, &pb.DowngradeRequest{Action: action, Version: "3.4.0"})
	}
	ask(i, "downgrade to no version", m.Downgrade, &pb.DowngradeRequest{Version: "old"})
	i.aboutSnapshots(m)
}

func (i *interview) aboutSnapshots(m pb.MaintenanceClient) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := m.Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		i.t.Fatal(err)
	}
	var last *pb.SnapshotResponse
	versions, bytes, wrong := map[string]bool{}, 0, false
	for {
		r, err := stream.Recv()
		if err != nil {
			i.note("the end of a snapshot", refusedOrEnd(err))
			break
		}
		if last != nil {
			wrong = wrong || last.RemainingBytes < r.RemainingBytes
			bytes += len(last.Blob)
		}
		last = r
		versions[r.Version] = true
	}
	i.note("the last message of a snapshot", fmt.Sprintf("%d bytes, %d remain; aligned: %t, more remained than before: %t, versions %v", len(last.Blob), last.RemainingBytes, bytes%512 == 0, wrong, versions))
}

func (i *interview) aboutMembers() {
	c, own := pb.NewClusterClient(i.conn), []string(nil)
	ask(i, "members", c.MemberList, &pb.MemberListRequest{Linearizable: true}, func(r *pb.MemberListResponse) {
		for _, m := range r.Members {
			if m.ID != i.member || len(m.ClientURLs) != 1 || len(m.PeerURLs) != 1 || !strings.HasPrefix(m.PeerURLs[0]+m.ClientURLs[0], "http://") {
				i.t.Errorf("the member is %v", m)
			}
			own = m.PeerURLs
			m.ID, m.Name, m.ClientURLs, m.PeerURLs = 1, "name", nil, nil
		}
	})
	ask(i, "add a member without an address", c.MemberAdd, &pb.MemberAddRequest{})
	ask(i, "remove nobody", c.MemberRemove, &pb.MemberRemoveRequest{ID: 4711})
	ask(i, "promote nobody", c.MemberPromote, &pb.MemberPromoteRequest{ID: 4711})
	ask(i, "promote a voter", c.MemberPromote, &pb.MemberPromoteRequest{ID: i.member})
	ask(i, "update nobody", c.MemberUpdate, &pb.MemberUpdateRequest{ID: 4711, PeerURLs: []string{"http://127.0.0.1:1"}})
	ask(i, "remove the only one", c.MemberRemove, &pb.MemberRemoveRequest{ID: i.member})

	first, second, learner := []string{"http://127.0.0.1:1"}, []string{"http://127.0.0.1:2"}, uint64(0)
	ask(i, "add a learner", c.MemberAdd, &pb.MemberAddRequest{PeerURLs: first, IsLearner: true}, func(r *pb.MemberAddResponse) {
		learner, r.Member.ID, r.Members = r.Member.ID, 1, nil
	})
	ask(i, "add another learner", c.MemberAdd, &pb.MemberAddRequest{PeerURLs: second, IsLearner: true})
	ask(i, "add a learner at a member's address", c.MemberAdd, &pb.MemberAddRequest{PeerURLs: own, IsLearner: true})
	ask(i, "promote a learner that was never started", c.MemberPromote, &pb.MemberPromoteRequest{ID: learner})
	ask(i, "give a member a learner's address", c.MemberUpdate, &pb.MemberUpdateRequest{ID: i.member, PeerURLs: first})
	ask(i, "give a learner a member's address", c.MemberUpdate, &pb.MemberUpdateRequest{ID: learner, PeerURLs: own})
	unlisted := func(r *pb.MemberUpdateResponse) { r.Members = nil }
	ask(i, "give a member the address that it has", c.MemberUpdate, &pb.MemberUpdateRequest{ID: i.member, PeerURLs: own}, unlisted)
	ask(i, "give a learner an address that is free", c.MemberUpdate, &pb.MemberUpdateRequest{ID: learner, PeerURLs: second}, unlisted)
	ask(i, "remove the learner", c.MemberRemove, &pb.MemberRemoveRequest{ID: learner}, func(r *pb.MemberRemoveResponse) { r.Members = nil })
	ask(i, "remove it again", c.MemberRemove, &pb.MemberRemoveRequest{ID: learner})
}

func (i *interview) aboutRows() {
	l, e, leases := v3lockpb.NewLockClient(i.conn), v3electionpb.NewElectionClient(i.conn), pb.NewLeaseClient(i.conn)
	for _, id := range []int64{0xa1, 0xa2} {
		ask(i, fmt.Sprintf("grant %x for a row", id), leases.LeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: 600})
	}
	ask(i, "lock", l.Lock, &v3lockpb.LockRequest{Name: b("lock"), Lease: 0xa1})
	ask(i, "lock what is one's own", l.Lock, &v3lockpb.LockRequest{Name: b("lock"), Lease: 0xa1})
	ask(i, "lock with no such lease", l.Lock, &v3lockpb.LockRequest{Name: b("lock"), Lease: 4711})
	ask(i, "unlock", l.Unlock, &v3lockpb.UnlockRequest{Key: b("lock/a1")})
	ask(i, "unlock again", l.Unlock, &v3lockpb.UnlockRequest{Key: b("lock/a1")})
	ask(i, "unlock nothing", l.Unlock, &v3lockpb.UnlockRequest{})
	ask(i, "leader of nothing", e.Leader, &v3electionpb.LeaderRequest{Name: b("vote")})
	ask(i, "campaign", e.Campaign, &v3electionpb.CampaignRequest{Name: b("vote"), Lease: 0xa1, Value: b("one")})
	r := ask(i, "campaign again", e.Campaign, &v3electionpb.CampaignRequest{Name: b("vote"), Lease: 0xa1, Value: b("uno")})
	ask(i, "campaign with no such lease", e.Campaign, &v3electionpb.CampaignRequest{Name: b("vote"), Lease: 4711, Value: b("x")})
	ask(i, "leader", e.Leader, &v3electionpb.LeaderRequest{Name: b("vote")})
	ask(i, "proclaim without a leader", e.Proclaim, &v3electionpb.ProclaimRequest{Value: b("x")})
	ask(i, "proclaim", e.Proclaim, &v3electionpb.ProclaimRequest{Leader: r.Leader, Value: b("eins")})
	ask(i, "proclaim for another", e.Proclaim, &v3electionpb.ProclaimRequest{Value: b("x"), Leader: &v3electionpb.LeaderKey{Name: b("vote"), Key: b("vote/a2"), Rev: 1, Lease: 0xa2}})
	ask(i, "resign without a leader", e.Resign, &v3electionpb.ResignRequest{})
	ask(i, "resign", e.Resign, &v3electionpb.ResignRequest{Leader: r.Leader})
	ask(i, "resign again", e.Resign, &v3electionpb.ResignRequest{Leader: r.Leader})
	for _, id := range []int64{0xa1, 0xa2} {
		ask(i, fmt.Sprintf("revoke %x", id), leases.LeaseRevoke, &pb.LeaseRevokeRequest{ID: id})
	}
}

// aboutJSON asks the gateway, as curl does.
func (i *interview) aboutJSON(address string) {
	ids := strings.NewReplacer(fmt.Sprintf(`"cluster_id":"%d"`, i.cluster), `"cluster_id":"1"`, fmt.Sprintf(`"member_id":"%d"`, i.member), `"member_id":"1"`)
	term := regexp.MustCompile(`"raft_term":"\d+"`)
	for _, x := range []struct{ name, method, path, body string }{
		{"put", "POST", "/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`},
		{"range", "POST", "/v3/kv/range", `{"key":"Zm9v"}`},
		{"names of the messages", "POST", "/v3/kv/range", `{"key":"Zm9v","range_end":"Zm9w","count_only":true,"sort_order":"DESCEND"}`},
		{"names of JSON", "POST", "/v3/kv/range", `{"key":"Zm9v","rangeEnd":"Zm9w","countOnly":true}`},
		{"an unknown name", "POST", "/v3/kv/range", `{"key":"Zm9v","nosuch":1}`},
		{"a body that is none", "POST", "/v3/kv/range", `{"key":`},
		{"no body", "POST", "/v3/kv/range", ``},
		{"a key that is not base64", "POST", "/v3/kv/range", `{"key":"%%%"}`},
		{"a refusal", "POST", "/v3/kv/range", `{"key":"Zm9v","revision":"100000"}`},
		{"a lease that is none", "POST", "/v3/lease/revoke", `{"ID":"4711"}`},
		{"a lease by its old path", "POST", "/v3/kv/lease/revoke", `{"ID":"4711"}`},
		{"a transaction", "POST", "/v3/kv/txn", `{"compare":[{"target":"VERSION","key":"Zm9v","result":"GREATER","version":"0"}],"success":[{"request_put":{"key":"Zm9v","value":"YmF6"}}]}`},
		{"a wrong method", "GET", "/v3/kv/range", ``},
		{"a path that is none", "POST", "/v3/kv/nosuch", `{}`},
		{"authentication", "POST", "/v3/auth/authenticate", `{"name":"root","password":"x"}`},
		{"members", "POST", "/v3/cluster/member/remove", `{"ID":"4711"}`},
		{"alarms", "POST", "/v3/maintenance/alarm", `{"action":"GET"}`},
		{"an unknown alarm", "POST", "/v3/maintenance/alarm", `{"action":"NOSUCH"}`},
		{"a lock without a lease", "POST", "/v3/lock/unlock", `{"key":"Zm9v"}`},
		{"health", "GET", "/health", ``},
		{"health by a wrong method", "POST", "/health", `{}`},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		request, err := http.NewRequestWithContext(ctx, x.method, "http://"+address+x.path, strings.NewReader(x.body))
		if err != nil {
			i.t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			i.t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		cancel()
		if err != nil {
			i.t.Fatal(err)
		}
		var compact bytes.Buffer // the spaces differ from build to build
		if err := json.Compact(&compact, text); err != nil {
			compact.Reset()
			compact.Write(bytes.TrimSpace(text))
		}
		said := term.ReplaceAllString(ids.Replace(compact.String()), `"raft_term":"1"`)
		i.note("JSON: "+x.name, fmt.Sprintf("%d %s %s", response.StatusCode, response.Header.Get("Content-Type"), said))
	}
}

func (i *interview) aboutUsers() {
	a := pb.NewAuthClient(i.conn)
	ask(i, "auth status", a.AuthStatus, &pb.AuthStatusRequest{})
	ask(i, "authenticate", a.Authenticate, &pb.AuthenticateRequest{Name: "root", Password: "x"})
	ask(i, "users", a.UserList, &pb.AuthUserListRequest{})
	ask(i, "roles", a.RoleList, &pb.AuthRoleListRequest{})
	// At the end, since one that is carried out makes all later revisions others.
	ask(i, "txn that deletes all from a key and puts", pb.NewKVClient(i.conn).Txn, &pb.TxnRequest{Success: ops(del("s", "\x00"), put("t", "1"))})
}
