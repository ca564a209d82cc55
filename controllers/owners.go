package controllers

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Who owns which fields of an object is in its managedFields: a tree for each manager, whose keys are "f:" and the name of a field, "k:" and the keys of
// a list's item, or "." for the field itself (Kubernetes' FieldsV1).

// fieldTree is such a tree.
type fieldTree map[string]any

func decodeFields(e *metav1.ManagedFieldsEntry) (fieldTree, error) {
	if e.FieldsV1 == nil {
		return fieldTree{}, nil
	}
	var t map[string]any
	if err := json.Unmarshal(e.FieldsV1.GetRawBytes(), &t); err != nil {
		return nil, fmt.Errorf("decode the fields of manager %s: %w", e.Manager, err)
	}
	return t, nil
}

// steps are the names on the way to a field. Of an item in a list it is the way to the list, since who changes an item's key owns another item.
func steps(field string) []string {
	list, _, _ := strings.Cut(field, "[")
	return strings.Split(list, ".")
}

// cut takes what is below the path out of the tree; nil if there is nothing.
func (t fieldTree) cut(path []string) fieldTree {
	key := "f:" + path[0]
	below, ok := t[key].(map[string]any)
	if !ok {
		return nil
	}
	if len(path) == 1 {
		delete(t, key)
		return below
	}
	out := fieldTree(below).cut(path[1:])
	if len(below) == 0 {
		delete(t, key)
	}
	return out
}

// graft adds what is below the path.
func (t fieldTree) graft(path []string, add fieldTree) {
	at := t
	for _, name := range path {
		at = at.child("f:" + name)
	}
	at.merge(add)
}

// child is the tree below a key, which is made if it does not exist.
func (t fieldTree) child(key string) fieldTree {
	below, ok := t[key].(map[string]any)
	switch {
	case !ok:
		below = map[string]any{}
		t[key] = below
	case len(below) == 0:
		below["."] = map[string]any{} // a leaf is owned itself
	}
	return below
}

func (t fieldTree) merge(add fieldTree) {
	if len(add) == 0 && len(t) > 0 {
		t["."] = map[string]any{}
	}
	for key, x := range add {
		below, _ := x.(map[string]any)
		if _, ok := t[key]; !ok {
			t[key] = below
			continue
		}
		if len(below) == 0 && len(t[key].(map[string]any)) == 0 {
			continue
		}
		t.child(key).merge(below)
	}
}

// moveFields gives the operator what is owned below those fields by managers that update; what others apply is theirs. Without anything to move it
// tells so.
func moveFields(entries []metav1.ManagedFieldsEntry, fields []string) (out []metav1.ManagedFieldsEntry, moved bool, err error) {
	operator := slices.IndexFunc(entries, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == string(fieldOwner) && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
	})
	if operator < 0 {
		return entries, false, nil // it is the apply that makes one, and what is applied is the operator's by force
	}
	ours, err := decodeFields(&entries[operator])
	if err != nil {
		return nil, false, err
	}
	for i := range entries {
		e := entries[i]
		if e.Operation != metav1.ManagedFieldsOperationUpdate || e.Subresource != "" || e.APIVersion != entries[operator].APIVersion {
			if i != operator {
				out = append(out, e)
			}
			continue
		}
		theirs, err := decodeFields(&e)
		if err != nil {
			return nil, false, err
		}
		for _, field := range fields {
			if below := theirs.cut(steps(field)); below != nil {
				ours.graft(steps(field), below)
				moved = true
			}
		}
		if len(theirs) == 0 {
			continue
		}
		if e.FieldsV1, err = theirs.encode(); err != nil {
			return nil, false, err
		}
		out = append(out, e)
	}
	e := entries[operator]
	if e.FieldsV1, err = ours.encode(); err != nil {
		return nil, false, err
	}
	return append(out, e), moved, nil
}

func (t fieldTree) encode() (*metav1.FieldsV1, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return metav1.NewFieldsV1(string(text)), nil
}

// ownersOf names who else owns something below the fields.
func ownersOf(o *unstructured.Unstructured, fields []string) []string {
	var out []string
	for _, e := range o.GetManagedFields() {
		t, err := decodeFields(&e)
		if err != nil || e.Manager == string(fieldOwner) || e.Subresource != "" || slices.Contains(out, e.Manager) {
			continue
		}
		if slices.ContainsFunc(fields, func(f string) bool { return t.cut(steps(f)) != nil }) {
			out = append(out, e.Manager)
		}
	}
	return out
}
