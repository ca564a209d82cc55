package resources

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// AdminTokenKey is the key of the token in the Secret, and the name of the file in the pods.
const AdminTokenKey = "token"

// AdminTokenSecret holds the token that admin calls to this cluster's nodes must carry. It is created once; the
// operator never changes an existing token.
func AdminTokenSecret(c *v1.RaftCluster, token string) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: meta(c, AdminTokenSecretName(c.Name)),
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{AdminTokenKey: []byte(token)},
	}
}
