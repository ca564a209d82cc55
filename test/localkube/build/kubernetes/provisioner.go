package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provisionerName is what the StorageClass names; localkube writes the same into its manifest.
const provisionerName = "raftkv.io/localkube"

// directories makes each volume a directory ROOT/NODE/VOLUME on the node that the scheduler chose. A volume is named
// after its claim's UID, so a claim that was deleted and made anew never meets the data of the former one.
type directories struct{ root string }

var (
	_ controller.Provisioner   = directories{}
	_ controller.DeletionGuard = directories{}
)

func (d directories) Provision(_ context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if o.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, errors.New(
			"no node was chosen for the claim; its storage class must have volumeBindingMode WaitForFirstConsumer")
	}
	path := filepath.Join(d.root, o.SelectedNodeName, o.PVName)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// The umask took the write bits off; a restricted pod writes as a user that owns nothing here.
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	mustExist := corev1.HostPathDirectory
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			VolumeMode:                    o.PVC.Spec.VolumeMode,
			Capacity: corev1.ResourceList{
				corev1.ResourceStorage: o.PVC.Spec.Resources.Requests[corev1.ResourceStorage],
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				// A directory that went missing must fail the mount, not come back empty.
				HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &mustExist},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{
						Key:      corev1.LabelHostname,
						Operator: corev1.NodeSelectorOpIn,
						Values:   []string{o.SelectedNodeName},
					}},
				}},
			}},
		},
	}, controller.ProvisioningFinished, nil
}

// ShouldDelete keeps the controller away from volumes that another provisioner or a person made.
func (d directories) ShouldDelete(_ context.Context, pv *corev1.PersistentVolume) bool {
	return pv.Spec.HostPath != nil && strings.HasPrefix(pv.Spec.HostPath.Path, d.root+string(filepath.Separator))
}

func (d directories) Delete(_ context.Context, pv *corev1.PersistentVolume) error {
	err := os.RemoveAll(pv.Spec.HostPath.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// runProvisioner serves the cluster's claims until it is told to stop.
func runProvisioner() {
	flags := flag.NewFlagSet("local-provisioner", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "file with the cluster's address and credentials")
	root := flags.String("root", "", "absolute folder that holds the volumes of all nodes")
	_ = flags.Parse(os.Args[1:])
	if err := provision(*kubeconfig, *root); err != nil {
		fmt.Fprintln(os.Stderr, "local-provisioner:", err)
		os.Exit(1)
	}
}

func provision(kubeconfig, root string) error {
	if !filepath.IsAbs(root) {
		return fmt.Errorf("-root %q must be an absolute path", root)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read -kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// One provisioner runs per cluster, so no leader is elected.
	controller.NewProvisionController(ctx, client, provisionerName, directories{root: filepath.Clean(root)},
		controller.LeaderElection(false)).Run(ctx)
	return nil
}
