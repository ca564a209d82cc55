package controllers

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
)

// A person changes the Secret; the kubelets bring the token to the nodes a while later, and to those that are made meanwhile at once.
func TestTheAdminTokenIsRotatedInTheSecret(t *testing.T) {
	s := newStory(t, 84)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	var secret corev1.Secret
	s.get(resources.AdminTokenSecretName("demo"), &secret)
	unlock := s.g.lock()
	s.g.token = string(secret.Data[resources.AdminTokenKey])
	unlock()
	secret.Data[resources.AdminTokenKey] = []byte("rotated\n")
	if err := s.c.Update(context.Background(), &secret); err != nil {
		t.Fatal(err)
	}
	s.later(tokenFresh)
	pods := s.podUIDs()
	for range 10 {
		s.k.play("demo")
		s.reconcile()
		if c := s.cluster(); !asSpecified(c) || !is(c, v1.ConditionAvailable) || is(c, v1.ConditionDegraded) {
			t.Fatalf("while the nodes take the old one: %+v", c.Status.Conditions)
		}
	}
	if got := s.r.lastToken(s.cluster()).token; got != "rotated" {
		t.Fatalf("the operator goes by %q", got)
	}
	unlock = s.g.lock()
	s.g.token = "rotated"
	unlock()
	// Steps go over the new connections, and what is done by them is seen.
	s.change(`{"spec":{"replicas":4}}`)
	s.until("grown", func(c *v1.RaftCluster) bool { return asSpecified(c) && len(s.g.membership.Voters()) == 4 })
	if s.get(secret.Name, &secret); string(secret.Data[resources.AdminTokenKey]) != "rotated\n" || len(s.podUIDs()) < len(pods) || s.podUIDs()[:len(pods)] != pods {
		t.Errorf("pods %s became %s, and the token is %q", pods, s.podUIDs(), secret.Data[resources.AdminTokenKey])
	}
}

// Without a token nothing is done to the nodes, but who leads is seen still, over the connections that there are.
func TestATokenThatSomebodyEmptied(t *testing.T) {
	s := newStory(t, 87)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	var secret corev1.Secret
	s.get(resources.AdminTokenSecretName("demo"), &secret)
	before := secret.Data
	secret.Data = nil
	if err := s.c.Update(context.Background(), &secret); err != nil {
		t.Fatal(err)
	}
	s.later(tokenFresh)
	unlock := s.g.lock()
	s.g.leader, s.g.term = s.g.membership.Members[2].ID, s.g.term+1
	unlock()
	for deadline := time.Now().Add(convergeWithin); s.roles() != "demo-0=follower demo-1=follower demo-2=leader"; {
		if _, err := s.r.Reconcile(context.Background(), reconcile.Request{NamespacedName: s.key}); err == nil || !strings.Contains(err.Error(), "has no key") {
			t.Fatalf("want an error that says what to do, got %v", err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the roles are %s", s.roles())
		}
	}
	s.get(secret.Name, &secret)
	secret.Data = before
	if err := s.c.Update(context.Background(), &secret); err != nil {
		t.Fatal(err)
	}
	s.until("well again", asSpecified)
}

// An operator that begins while the nodes still take the old token hears nothing of them for that long. It touches nothing.
func TestAnOperatorThatBeginsWhileATokenIsRotated(t *testing.T) {
	s := newStory(t, 85)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	unlock := s.g.lock()
	s.g.token = "not yet the Secret's"
	unlock()
	s.r.Nodes.Follow(s.key, nil)
	operator := asOperator(t)
	s.r = NewReconciler(operator, operator, s.events, s.g.dial, "raftkv/node:default")
	pods, roles := s.podUIDs(), s.roles()
	s.until("unheard", func(c *v1.RaftCluster) bool { return !is(c, v1.ConditionAvailable) })
	s.later(2 * electionPatience)
	for range 10 {
		s.k.play("demo")
		s.reconcile()
	}
	if s.podUIDs() != pods || s.roles() != roles || is(s.cluster(), v1.ConditionStalled) {
		t.Errorf("pods %s became %s, roles %s became %s: %+v", pods, s.podUIDs(), roles, s.roles(), s.cluster().Status.Conditions)
	}
	var secret corev1.Secret
	s.get(resources.AdminTokenSecretName("demo"), &secret)
	unlock = s.g.lock()
	s.g.token = string(secret.Data[resources.AdminTokenKey])
	unlock()
	s.until("heard again", asSpecified)
}

// What is remembered of a RaftCluster goes with it, and is not taken for another one's of the name.
func TestNothingIsRememberedOfARaftClusterThatIsGone(t *testing.T) {
	s := newStory(t, 86)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	c := s.until("ready", asSpecified)
	if s.r.lastToken(c).token == "" {
		t.Fatal("the token is not remembered")
	}
	another := c.DeepCopy()
	another.UID = "another"
	if got := s.r.lastToken(another).token; got != "" {
		t.Errorf("another RaftCluster of the name gets the token %q", got)
	}
	if err := s.c.Delete(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	for err := error(nil); !apierrors.IsNotFound(err); err = s.c.Get(context.Background(), client.ObjectKeyFromObject(c), c) {
		s.reconcile()
	}
	s.reconcile()
	for name, known := range map[string]interface {
		Range(f func(key, value any) bool)
	}{"tokens": &s.r.tokens, "reports": &s.r.reports} {
		known.Range(func(key, _ any) bool {
			t.Errorf("%s of %v are remembered", name, key)
			return true
		})
	}
}
