package rest

import (
	"net/http"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

// keysDocument names keys: one, those up to but not including end, or those that begin with key. An end of one zero byte means all keys
// from key on.
type keysDocument struct {
	Key    []byte `json:"key"`
	End    []byte `json:"end,omitempty"`
	Prefix bool   `json:"prefix,omitempty"`
}

func (d *keysDocument) keyRange() (kv.KeyRange, error) {
	switch {
	case d.Prefix && len(d.End) > 0:
		return kv.KeyRange{}, badQuery("give prefix or end, not both")
	case d.Prefix:
		return kv.Prefix(d.Key), nil
	case len(d.End) > 0:
		return kv.Span(d.Key, d.End), nil
	case len(d.Key) == 0:
		return kv.KeyRange{}, badQuery("an operation or comparison has no key")
	}
	return kv.One(d.Key), nil
}

// txnDocument is a transaction: if all of Compare hold, Then is done, and Else if not, as one change of one revision.
type txnDocument struct {
	Compare []compareDocument `json:"compare,omitempty"`
	Then    []opDocument      `json:"then,omitempty"`
	Else    []opDocument      `json:"else,omitempty"`
}

// compareDocument is one condition. Over a range it must hold for every key in it.
type compareDocument struct {
	keysDocument
	Target   string `json:"target"`
	Relation string `json:"relation"`
	// Number is compared with every target but the value.
	Number *number `json:"number,omitempty"`
	Value  *[]byte `json:"value,omitempty"`
}

// opDocument is one operation: one of its fields is set.
type opDocument struct {
	Put    *putDocument    `json:"put,omitempty"`
	Delete *deleteDocument `json:"delete,omitempty"`
	Get    *getDocument    `json:"get,omitempty"`
	Txn    *txnDocument    `json:"txn,omitempty"`
}

type putDocument struct {
	Key         []byte `json:"key"`
	Value       []byte `json:"value,omitempty"`
	Lease       number `json:"lease,omitzero"`
	Prev        bool   `json:"prev,omitempty"`
	IgnoreValue bool   `json:"ignoreValue,omitempty"`
	IgnoreLease bool   `json:"ignoreLease,omitempty"`
}

type deleteDocument struct {
	keysDocument
	Prev bool `json:"prev,omitempty"`
}

type getDocument struct {
	keysDocument
	Revision          number `json:"revision,omitzero"`
	Limit             number `json:"limit,omitzero"`
	KeysOnly          bool   `json:"keysOnly,omitempty"`
	CountOnly         bool   `json:"countOnly,omitempty"`
	Sort              string `json:"sort,omitempty"`
	Order             string `json:"order,omitempty"`
	MinModRevision    number `json:"minModRevision,omitzero"`
	MaxModRevision    number `json:"maxModRevision,omitzero"`
	MinCreateRevision number `json:"minCreateRevision,omitzero"`
	MaxCreateRevision number `json:"maxCreateRevision,omitzero"`
}

var compareTargets = map[string]kv.CompareTarget{
	"value": kv.TargetValue, "version": kv.TargetVersion, "createRevision": kv.TargetCreate, "modRevision": kv.TargetMod, "lease": kv.TargetLease,
}

var relations = map[string]kv.Relation{"=": kv.Equal, "!=": kv.NotEqual, "<": kv.Less, ">": kv.Greater}

func (d *compareDocument) compare() (out kv.Compare, err error) {
	if out.Keys, err = d.keyRange(); err != nil {
		return out, err
	}
	target, known := compareTargets[d.Target]
	if !known {
		return out, badQuery("target %q: write value, version, createRevision, modRevision or lease", d.Target)
	}
	if out.Relation, known = relations[d.Relation]; !known {
		return out, badQuery("relation %q: write =, !=, < or >", d.Relation)
	}
	switch out.Target = target; {
	case target == kv.TargetValue && d.Value != nil && d.Number == nil:
		out.Value = *d.Value
	case target != kv.TargetValue && d.Value == nil && d.Number != nil:
		out.Number = uint64(*d.Number)
	default:
		return out, badQuery("a comparison of the value takes value, any other number: the one of %q has something else", d.Target)
	}
	return out, nil
}

func (d *txnDocument) transaction(depth int) (*kv.Txn, error) {
	if depth > kv.MaxTxnDepth {
		return nil, problemf(http.StatusRequestEntityTooLarge, codeTooLarge, "transactions are nested deeper than %d", kv.MaxTxnDepth)
	}
	out := &kv.Txn{Compares: make([]kv.Compare, len(d.Compare))}
	for i := range d.Compare {
		var err error
		if out.Compares[i], err = d.Compare[i].compare(); err != nil {
			return nil, err
		}
	}
	var err error
	if out.Success, err = operations(d.Then, depth); err != nil {
		return nil, err
	}
	out.Failure, err = operations(d.Else, depth)
	return out, err
}

func operations(in []opDocument, depth int) ([]kv.Op, error) {
	out := make([]kv.Op, len(in))
	for i := range in {
		var err error
		if out[i], err = in[i].operation(depth); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (d *opDocument) operation(depth int) (kv.Op, error) {
	set := 0
	for _, is := range []bool{d.Put != nil, d.Delete != nil, d.Get != nil, d.Txn != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return kv.Op{}, badQuery("an operation is one of put, delete, get and txn; one has %d of them", set)
	case d.Put != nil:
		return d.Put.operation()
	case d.Delete != nil:
		keys, err := d.Delete.keyRange()
		op := kv.DeleteOp(keys)
		op.PrevKV = d.Delete.Prev
		return op, err
	case d.Get != nil:
		return d.Get.operation()
	}
	t, err := d.Txn.transaction(depth + 1)
	return kv.Op{Kind: kv.OpTxn, Txn: t}, err
}

func (d *putDocument) operation() (kv.Op, error) {
	lease, err := d.Lease.lease()
	if err != nil {
		return kv.Op{}, err
	}
	return kv.Op{
		Kind: kv.OpPut, Keys: kv.One(d.Key), Value: d.Value, Lease: lease, PrevKV: d.Prev, IgnoreValue: d.IgnoreValue, IgnoreLease: d.IgnoreLease,
	}, nil
}

func (d *getDocument) operation() (kv.Op, error) {
	keys, err := d.keyRange()
	if err != nil {
		return kv.Op{}, err
	}
	target, order, err := sorting(d.Sort, d.Order)
	if err != nil {
		return kv.Op{}, err
	}
	if d.Limit > MaxLimit {
		return kv.Op{}, badQuery("limit %d: write a number from 1 to %d, or none", uint64(d.Limit), MaxLimit)
	}
	return kv.RangeOp(kv.RangeRequest{
		Keys: keys, Revision: uint64(d.Revision), Limit: int(d.Limit), KeysOnly: d.KeysOnly, CountOnly: d.CountOnly, WithCount: true,
		Sort: order, Target: target, MinModRevision: uint64(d.MinModRevision), MaxModRevision: uint64(d.MaxModRevision),
		MinCreateRevision: uint64(d.MinCreateRevision), MaxCreateRevision: uint64(d.MaxCreateRevision),
	}), nil
}

// txnAnswer is what a transaction did; one in another has no revision of its own. Results are in the order of the operations of
// the branch that ran.
type txnAnswer struct {
	Revision  number     `json:"revision,omitzero"`
	Succeeded bool       `json:"succeeded"`
	Results   []opAnswer `json:"results"`
}

// opAnswer is what one operation did: the field of its kind is set.
type opAnswer struct {
	Put    *putAnswer    `json:"put,omitempty"`
	Delete *deleteAnswer `json:"delete,omitempty"`
	Get    *getAnswer    `json:"get,omitempty"`
	Txn    *txnAnswer    `json:"txn,omitempty"`
}

type putAnswer struct {
	Prev *item `json:"prev,omitempty"`
	// PrevTruncated says that there was a version before, and that the answer has no room for it.
	PrevTruncated bool `json:"prevTruncated,omitempty"`
}

type deleteAnswer struct {
	Deleted number `json:"deleted"`
	Prev    []item `json:"prev,omitempty"`
	// PrevTruncated says that more was deleted than Prev has.
	PrevTruncated bool `json:"prevTruncated,omitempty"`
}

type getAnswer struct {
	Items []item `json:"items"`
	More  bool   `json:"more"`
	Count number `json:"count"`
}

func (x *request) txn() error {
	var document txnDocument
	release, err := x.readDocument(&document)
	if err != nil {
		return err
	}
	defer release()
	t, err := document.transaction(1)
	if err != nil {
		return err
	}
	result, err := x.store.Txn(x.ctx, backend.TxnRequest{Txn: *t, Serializable: x.query.serializable})
	if err != nil {
		return err
	}
	released, err := x.hold(documentWeight*sizeOfResults(result.Ops), t.Writes())
	if err != nil {
		return err
	}
	defer released()
	out := txnAnswerOf(t, &result.TxnResult)
	out.Revision = number(result.Revision)
	return x.answer(result.Revision, out)
}

func sizeOfResults(results []kv.OpResult) int {
	size := 0
	for i := range results {
		r := &results[i]
		size += sizeOf(r.Prev)
		if r.Range != nil {
			size += sizeOf(r.Range.Items)
		}
		if r.Txn != nil {
			size += sizeOfResults(r.Txn.Ops)
		}
	}
	return size
}

func txnAnswerOf(t *kv.Txn, r *kv.TxnResult) *txnAnswer {
	branch := t.Failure
	if r.Succeeded {
		branch = t.Success
	}
	out := &txnAnswer{Succeeded: r.Succeeded, Results: make([]opAnswer, len(r.Ops))}
	for i := range r.Ops {
		op, did := &branch[i], &r.Ops[i]
		switch to := &out.Results[i]; op.Kind {
		case kv.OpPut:
			to.Put = &putAnswer{PrevTruncated: did.PrevTruncated}
			if len(did.Prev) > 0 {
				to.Put.Prev = previous(&did.Prev[0])
			}
		case kv.OpDelete:
			to.Delete = &deleteAnswer{Deleted: number(did.Deleted), Prev: itemsOf(did.Prev, true), PrevTruncated: did.PrevTruncated}
		case kv.OpRange:
			to.Get = &getAnswer{Items: itemsOf(did.Range.Items, !op.Range.KeysOnly), More: did.Range.More, Count: number(did.Range.Count)}
		case kv.OpTxn:
			to.Txn = txnAnswerOf(op.Txn, did.Txn)
		}
	}
	return out
}
