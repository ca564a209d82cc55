package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What the API server makes of an object is not always what was applied: admission webhooks rewrite images and add containers, and another manager
// may own more of a list. What is left of the difference right after an apply would be there after the next one, too. It is remembered, so that
// the child counts as it is wanted for as long as it looks like that.

// maxMade bounds the children that are remembered to differ from what was applied. One that is forgotten is applied once more.
const maxMade = 10_000

// made are the children that the API server makes into something else than what is applied. The zero value is ready for use.
type made struct {
	mu sync.Mutex
	of map[childKey]madeAs
}

type childKey struct{ namespace, kind, name string }

// madeAs is how a child differed right after it was applied.
type madeAs struct {
	applied string            // the digest of what was applied
	as      map[string]string // the fields in which it differed, and what they were, as JSON
}

func keyOf(o client.Object) childKey {
	return childKey{namespace: o.GetNamespace(), kind: o.GetObjectKind().GroupVersionKind().Kind, name: o.GetName()}
}

func (m *made) get(o client.Object) madeAs {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of[keyOf(o)]
}

// learn remembers what became of the child, and tells whether that is new and worth telling.
func (m *made) learn(o client.Object, now madeAs) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := keyOf(o)
	before := m.of[key]
	if len(now.as) == 0 {
		delete(m.of, key)
		return false
	}
	if m.of == nil {
		m.of = map[childKey]madeAs{}
	}
	if _, known := m.of[key]; !known && len(m.of) >= maxMade {
		for any := range m.of {
			delete(m.of, any)
			break
		}
	}
	m.of[key] = now
	return !maps.Equal(before.as, now.as)
}

// tolerates tells that the child differs from what is wanted just as it did right after that was applied.
func (m madeAs) tolerates(digest string, differs map[string]string) bool {
	return m.applied == digest && maps.Equal(m.as, differs)
}

// differs are the fields in which an object of the child's kind is not what is wanted.
func (c child) differs(is, wanted *unstructured.Unstructured) (map[string]string, error) {
	// By way of the type, since that writes fields without a value as the wanted object does.
	typed := reflect.New(reflect.TypeOf(c.wanted).Elem()).Interface()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(is.Object, typed); err != nil {
		return nil, fmt.Errorf("convert %s: %w", is.GetName(), err)
	}
	have, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", is.GetName(), err)
	}
	return differences(have, wanted.Object)
}

// differences are the fields in which have is not what want says, and what they are in have, as JSON. have may say more where want says nothing.
func differences(have, want map[string]any) (map[string]string, error) {
	found := map[string]any{}
	compare(have, want, "", found)
	out := make(map[string]string, len(found))
	for field, x := range found {
		text, err := json.Marshal(x)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", field, err)
		}
		out[field] = string(text)
	}
	return out, nil
}

func compare(have, want any, path string, out map[string]any) {
	switch w := want.(type) {
	case map[string]any:
		h, _ := have.(map[string]any)
		for k := range w {
			if path == "" && (k == "apiVersion" || k == "kind") || path == "metadata" && k == "resourceVersion" || path == "metadata.annotations" && k == appliedAnnotation {
				continue
			}
			field := strings.TrimPrefix(path+"."+k, ".")
			switch {
			case exact(k) && !reflect.DeepEqual(h[k], w[k]), k == "ownerReferences" && !owned(h[k], w[k]):
				out[field] = h[k]
			case k == "ownerReferences":
			default:
				compare(h[k], w[k], field, out)
			}
		}
		return
	case []any:
		h, _ := have.([]any)
		if len(h) != len(w) {
			out[path] = have
			return
		}
		for i := range w {
			compare(h[i], w[i], fmt.Sprintf("%s[%d]", path, i), out)
		}
		return
	}
	if !reflect.DeepEqual(have, want) {
		out[path] = have
	}
}

// exact tells that a field selects by labels, to which nobody may add any.
func exact(field string) bool {
	return field == "selector" || field == "matchLabels" || field == "nodeSelector"
}

// owned tells that the object has the owners that are wanted. Others may add theirs.
func owned(have, want any) bool {
	h, _ := have.([]any)
	w, _ := want.([]any)
	for _, x := range w {
		found := false
		for _, y := range h {
			found = found || reflect.DeepEqual(x, y)
		}
		if !found {
			return false
		}
	}
	return true
}

// differsNow are the fields in which the child, if it exists, is not what is wanted.
func (c child) differsNow(wanted *unstructured.Unstructured) (map[string]string, error) {
	if c.is == nil {
		return nil, nil
	}
	have, err := runtime.DefaultUnstructuredConverter.ToUnstructured(c.is)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", c.is.GetName(), err)
	}
	return differences(have, wanted.Object)
}
