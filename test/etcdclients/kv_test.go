package etcdclients

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestKeys(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	key := func(s string) string { return name + "/" + s }
	first := must(c.Put(ctx, key("a"), "1"))(t)
	second := must(c.Put(ctx, key("a"), "2", clientv3.WithPrevKV()))(t)
	if second.PrevKv == nil || string(second.PrevKv.Value) != "1" || second.Header.Revision <= first.Header.Revision {
		t.Fatalf("a put over another: %v", second)
	}
	for _, s := range []string{"b", "c", "d"} {
		_ = must(c.Put(ctx, key(s), strings.Repeat(s, 3)))(t)
	}
	got := must(c.Get(ctx, key("a")))(t)
	if got.Count != 1 || string(got.Kvs[0].Value) != "2" || got.Kvs[0].Version != 2 || got.Kvs[0].CreateRevision != first.Header.Revision ||
		got.Kvs[0].ModRevision != second.Header.Revision {
		t.Fatalf("a key: %v", got)
	}
	old := must(c.Get(ctx, key("a"), clientv3.WithRev(first.Header.Revision)))(t)
	if string(old.Kvs[0].Value) != "1" || old.Header.Revision < second.Header.Revision {
		t.Fatalf("at an old revision: %v", old)
	}
	for _, x := range []struct {
		what    string
		options []clientv3.OpOption
		want    string
		more    bool
		count   int64
	}{
		{"all", nil, "a=2 b=bbb c=ccc d=ddd", false, 4},
		{"a part", []clientv3.OpOption{clientv3.WithLimit(2)}, "a=2 b=bbb", true, 4},
		{"backwards", []clientv3.OpOption{clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(2)}, "d=ddd c=ccc", true, 4},
		{"by version", []clientv3.OpOption{clientv3.WithSort(clientv3.SortByVersion, clientv3.SortDescend), clientv3.WithLimit(1)}, "a=2", true, 4},
		{"by value", []clientv3.OpOption{clientv3.WithSort(clientv3.SortByValue, clientv3.SortNone)}, "a=2 b=bbb c=ccc d=ddd", false, 4},
		{"keys only", []clientv3.OpOption{clientv3.WithKeysOnly()}, "a= b= c= d=", false, 4},
		{"count only", []clientv3.OpOption{clientv3.WithCountOnly()}, "", false, 4},
		{"recent", []clientv3.OpOption{clientv3.WithMinModRev(second.Header.Revision + 1)}, "b=bbb c=ccc d=ddd", false, 4},
		{"serializable at a revision", []clientv3.OpOption{clientv3.WithRev(second.Header.Revision), clientv3.WithSerializable()}, "a=2", false, 1},
	} {
		r := must(c.Get(ctx, key(""), append(x.options, clientv3.WithPrefix())...))(t)
		var parts []string
		for _, kv := range r.Kvs {
			parts = append(parts, fmt.Sprintf("%s=%s", strings.TrimPrefix(string(kv.Key), key("")), kv.Value))
		}
		if got := strings.Join(parts, " "); got != x.want || r.More != x.more || r.Count != x.count {
			t.Errorf("%s: %q, more %t, count %d", x.what, got, r.More, r.Count)
		}
	}
	gone := must(c.Delete(ctx, key("b"), clientv3.WithRange(key("d")), clientv3.WithPrevKV()))(t)
	if gone.Deleted != 2 || len(gone.PrevKvs) != 2 || string(gone.PrevKvs[1].Value) != "ccc" {
		t.Errorf("a deletion: %v", gone)
	}
	if again := must(c.Delete(ctx, key("b")))(t); again.Deleted != 0 || again.Header.Revision != gone.Header.Revision {
		t.Errorf("a deletion of nothing: %v", again)
	}
	kept := must(c.Put(ctx, key("a"), "", clientv3.WithIgnoreValue()))(t)
	if r := must(c.Get(ctx, key("a")))(t); string(r.Kvs[0].Value) != "2" || r.Kvs[0].ModRevision != kept.Header.Revision {
		t.Errorf("a put that keeps the value: %v", r)
	}
	if r := must(c.Get(ctx, key("x"), clientv3.WithFromKey(), clientv3.WithLimit(1)))(t); r.Count < 0 {
		t.Errorf("from a key on: %v", r)
	}
}

func TestTransactions(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	key := func(s string) string { return name + "/" + s }
	r := must(c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key("a")), "=", 0)).
		Then(clientv3.OpPut(key("a"), "1"), clientv3.OpPut(key("b"), "2"), clientv3.OpGet(key("a"))).
		Else(clientv3.OpGet(key("a"))).Commit())(t)
	if !r.Succeeded || len(r.Responses) != 3 {
		t.Fatalf("%v", r)
	}
	got := r.Responses[2].GetResponseRange()
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "1" || got.Kvs[0].ModRevision != r.Header.Revision || got.Header.Revision != r.Header.Revision {
		t.Errorf("a read after a write in a transaction: %v, header %v", got, r.Header)
	}
	r = must(c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key("a")), "=", 0)).
		Then(clientv3.OpPut(key("a"), "x")).Else(clientv3.OpGet(key("a"))).Commit())(t)
	if r.Succeeded || string(r.Responses[0].GetResponseRange().Kvs[0].Value) != "1" {
		t.Errorf("the other branch: %v", r)
	}
	nested := clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Value(key("b")), "=", "2")},
		[]clientv3.Op{clientv3.OpDelete(key("b"), clientv3.WithPrevKV())}, []clientv3.Op{clientv3.OpPut(key("c"), "wrong")})
	r = must(c.Txn(ctx).If(clientv3.Compare(clientv3.Version(key("")), ">", 0).WithPrefix(), clientv3.Compare(clientv3.LeaseValue(key("a")), "=", 0),
		clientv3.Compare(clientv3.ModRevision(key("a")), ">", 1), clientv3.Compare(clientv3.Value(key("a")), "!=", "2")).
		Then(nested, clientv3.OpPut(key("d"), "4")).Commit())(t)
	if !r.Succeeded || len(r.Responses) != 2 {
		t.Fatalf("%v", r)
	}
	inner := r.Responses[0].GetResponseTxn()
	if !inner.Succeeded || inner.Responses[0].GetResponseDeleteRange().Deleted != 1 || string(inner.Responses[0].GetResponseDeleteRange().PrevKvs[0].Value) != "2" {
		t.Errorf("a transaction in a transaction: %v", r)
	}
	if all := must(c.Get(ctx, key(""), clientv3.WithPrefix()))(t); all.Count != 2 || all.Kvs[1].ModRevision != r.Header.Revision {
		t.Errorf("after it: %v", all)
	}
}

// TestRefusals are the codes and words that programs act on.
func TestRefusals(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	key := name
	head := must(c.Put(ctx, key, "v"))(t).Header.Revision
	puts := func(n int) []clientv3.Op {
		var ops []clientv3.Op
		for i := range n {
			ops = append(ops, clientv3.OpPut(fmt.Sprint(key, i), "v"))
		}
		return ops
	}
	for _, x := range []struct {
		what string
		call func() error
		want error
	}{
		{"an empty key", func() error { _, err := c.Put(ctx, "", "v"); return err }, rpctypes.ErrEmptyKey},
		{"reading an empty key", func() error { _, err := c.Get(ctx, ""); return err }, rpctypes.ErrEmptyKey},
		{"deleting an empty key", func() error { _, err := c.Delete(ctx, ""); return err }, rpctypes.ErrEmptyKey},
		{"a later revision", func() error { _, err := c.Get(ctx, key, clientv3.WithRev(head+1_000_000)); return err }, rpctypes.ErrFutureRev},
		{"compacting a later revision", func() error { _, err := c.Compact(ctx, head+1_000_000); return err }, rpctypes.ErrFutureRev},
		{"a key that is written twice", func() error {
			_, err := c.Txn(ctx).Then(clientv3.OpPut(key, "1"), clientv3.OpPut(key, "2")).Commit()
			return err
		}, rpctypes.ErrDuplicateKey},
		{"a key that is written in a range that is deleted", func() error {
			_, err := c.Txn(ctx).Then(clientv3.OpPut(key, "1"), clientv3.OpDelete(key, clientv3.WithPrefix())).Commit()
			return err
		}, rpctypes.ErrDuplicateKey},
		{"too many operations", func() error { _, err := c.Txn(ctx).Then(puts(129)...).Commit(); return err }, rpctypes.ErrTooManyOps},
		{"a value that is too large", func() error { _, err := c.Put(ctx, key, strings.Repeat("x", 1_700_000)); return err }, rpctypes.ErrRequestTooLarge},
		{"keeping the value of no key", func() error { _, err := c.Put(ctx, key+"none", "", clientv3.WithIgnoreValue()); return err }, rpctypes.ErrKeyNotFound},
		{"a value that is to be ignored", func() error { _, err := c.Put(ctx, key, "v", clientv3.WithIgnoreValue()); return err }, rpctypes.ErrValueProvided},
		{"a lease that is to be ignored", func() error {
			_, err := c.Put(ctx, key, "v", clientv3.WithIgnoreLease(), clientv3.WithLease(7))
			return err
		}, rpctypes.ErrLeaseProvided},
		{"no such lease", func() error { _, err := c.Put(ctx, key, "v", clientv3.WithLease(12345)); return err }, rpctypes.ErrLeaseNotFound},
		{"revoking no lease", func() error { _, err := c.Revoke(ctx, 12345); return err }, rpctypes.ErrLeaseNotFound},
		{"a lease for ever", func() error { _, err := c.Grant(ctx, 9_000_000_001); return err }, rpctypes.ErrLeaseTTLTooLarge},
		{"a member that is none", func() error { _, err := c.MemberRemove(ctx, 1); return err }, rpctypes.ErrMemberNotFound},
		{"a login", func() error { _, err := c.Authenticate(ctx, "root", "secret"); return err }, rpctypes.ErrAuthNotEnabled},
	} {
		err := x.call()
		var got, want rpctypes.EtcdError
		if !errors.As(err, &got) || !errors.As(x.want, &want) || got.Code() != want.Code() || got.Error() != want.Error() {
			t.Errorf("%s: %v, etcd says %v", x.what, err, x.want)
		}
	}
	if large := strings.Repeat("x", 1_500_000); must(c.Put(ctx, key, large))(t) == nil {
		t.Error("a large value")
	}
}
