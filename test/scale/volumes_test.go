//go:build linux && scale

package scale

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	storageClass = "played"
	provisioner  = "volumes.scale.raftkv.io"
	// claimPrefix is what the names of claims begin with: the name of the claim template.
	claimPrefix = "data-"
	// provisionerWorkers bounds the volumes that are made at one time, and maxClaims the claims that wait for one.
	provisionerWorkers = 4
	maxClaims          = 1 << 16
)

// volumes makes a volume for each claim, as a storage driver's provisioner does. Kubernetes binds them.
type volumes struct {
	c      client.Client
	claims chan *corev1.PersistentVolumeClaim

	mu   sync.Mutex
	made map[types.UID]bool
	err  error
}

func startVolumes(ctx context.Context, c client.Client) *volumes {
	v := &volumes{c: c, claims: make(chan *corev1.PersistentVolumeClaim, maxClaims), made: map[types.UID]bool{}}
	for range provisionerWorkers {
		go v.work(ctx)
	}
	return v
}

// see takes note of a claim that has no volume.
func (v *volumes) see(c *corev1.PersistentVolumeClaim) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c.Spec.VolumeName != "" || v.made[c.UID] {
		return
	}
	v.made[c.UID] = true
	v.claims <- c
}

func (v *volumes) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-v.claims:
			if err := v.provision(ctx, c); err != nil && ctx.Err() == nil {
				v.mu.Lock()
				v.err = errors.Join(v.err, fmt.Errorf("make a volume for %s: %w", c.Name, err))
				v.mu.Unlock()
			}
		}
	}
}

func (v *volumes) provision(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + string(c.UID), Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: c.Spec.Resources.Requests, AccessModes: c.Spec.AccessModes, StorageClassName: storageClass,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: provisioner, VolumeHandle: string(c.UID)},
			},
			ClaimRef: &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID},
		},
	}
	if err := v.c.Create(ctx, volume); !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// failed says what went wrong so far.
func (v *volumes) failed() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}
