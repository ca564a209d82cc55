package controllers

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
)

// tokenFresh is for how long an admin token is believed that was read. A Secret that was deleted or changed is noticed by the first look after
// that, and before each risky step.
const tokenFresh = 10 * time.Second

// knownToken is an admin token, whose RaftCluster it is, and when it was read.
type knownToken struct {
	of    types.UID
	token string
	at    time.Time
}

// lastToken is the one that was read last; none if that was of another RaftCluster of the name.
func (r *Reconciler) lastToken(c *v1.RaftCluster) knownToken {
	last, _ := r.tokens.Load(client.ObjectKeyFromObject(c))
	known, _ := last.(knownToken)
	if known.of != c.UID {
		return knownToken{}
	}
	return known
}

// observeToken reads the admin token, unless it was read just before. Secrets are not watched: reading one by its name needs fewer rights.
func (r *Reconciler) observeToken(ctx context.Context, s *snapshot) error {
	known := r.lastToken(s.cluster)
	if s.depth != live && known.token != "" && r.now().Sub(known.at) < tokenFresh {
		s.token = known.token
		return nil
	}
	var secret corev1.Secret
	key := client.ObjectKey{Namespace: s.cluster.Namespace, Name: resources.AdminTokenSecretName(s.cluster.Name)}
	switch err := r.Live.Get(ctx, key, &secret); {
	case apierrors.IsNotFound(err):
		s.token, s.noToken = known.token, true
		return nil
	case err != nil:
		return fmt.Errorf("read the admin token: %w", err)
	}
	if s.foreignChild("Secret", &secret) {
		return nil
	}
	// As the nodes read it: who writes a token with an editor ends it with a new line.
	s.token = strings.TrimSpace(string(secret.Data[resources.AdminTokenKey]))
	if s.noToken = s.token == ""; s.noToken {
		s.token = known.token
	} else {
		r.tokens.Store(client.ObjectKeyFromObject(s.cluster), knownToken{s.cluster.UID, s.token, r.now()})
	}
	return nil
}

// createToken makes the Secret with the admin token. It is only ever created, so that no token in use is replaced; one that somebody
// deleted comes back with the token that the nodes know, as long as this operator has seen it.
func (r *Reconciler) createToken(ctx context.Context, s *snapshot) error {
	secret := resources.AdminTokenSecret(s.cluster, cmp.Or(s.token, r.NewToken()))
	anew := child{wanted: secret.DeepCopy()} // the answer lacks the kind
	if err := r.Client.Create(ctx, secret, fieldOwner); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("secret %s has no key %q: delete it, and the operator makes a new one", secret.Name, resources.AdminTokenKey)
		}
		return fmt.Errorf("create secret %s: %w", secret.Name, err)
	}
	r.childEvent(s.cluster, anew, nil, nil)
	return nil
}
