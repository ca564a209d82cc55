package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
)

// fieldManager is who the changes of raftctl are recorded as.
const fieldManager = "raftctl"

// api speaks to the two groups that raftctl needs. It knows their types and no others: all of Kubernetes' would triple the program.
type api struct{ core, raftkv rest.Interface }

func newAPI(config *rest.Config) (*api, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	codecs := serializer.NewCodecFactory(scheme).WithoutConversion()
	group := func(path string, version schema.GroupVersion) (rest.Interface, error) {
		c := rest.CopyConfig(config)
		c.APIPath, c.GroupVersion, c.NegotiatedSerializer = path, &version, codecs
		return rest.RESTClientFor(c)
	}
	core, err := group("/api", corev1.SchemeGroupVersion)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	raftkv, err := group("/apis", v1.GroupVersion)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	return &api{core, raftkv}, nil
}

const raftClusters = "raftclusters"

func (a *api) cluster(ctx context.Context, namespace, name string) (*v1.RaftCluster, error) {
	c := new(v1.RaftCluster)
	return c, explain(a.raftkv.Get().Namespace(namespace).Resource(raftClusters).Name(name).Do(ctx).Into(c))
}

// clusters are those of the namespace, or of all if it is empty.
func (a *api) clusters(ctx context.Context, namespace string) ([]v1.RaftCluster, error) {
	var l v1.RaftClusterList
	err := a.raftkv.Get().NamespaceIfScoped(namespace, namespace != "").Resource(raftClusters).Do(ctx).Into(&l)
	return l.Items, explain(err)
}

// patch merges spec into the RaftCluster's. Fields that the CRD does not know are refused, since an older one would drop them without a word.
func (a *api) patch(ctx context.Context, namespace, name string, spec map[string]any) (*v1.RaftCluster, error) {
	body, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return nil, err
	}
	c := new(v1.RaftCluster)
	err = a.raftkv.Patch(types.MergePatchType).Namespace(namespace).Resource(raftClusters).Name(name).
		Param("fieldManager", fieldManager).Param("fieldValidation", metav1.FieldValidationStrict).Body(body).Do(ctx).Into(c)
	return c, explain(err)
}

// list reads objects of the core group that belong to a RaftCluster.
func (a *api) list(ctx context.Context, namespace, resource, cluster string, into runtime.Object) error {
	selector := labels.SelectorFromSet(resources.SelectorLabels(cluster)).String()
	return a.core.Get().Namespace(namespace).Resource(resource).Param("labelSelector", selector).Do(ctx).Into(into)
}

func (a *api) events(ctx context.Context, namespace, kind, name string) ([]corev1.Event, error) {
	of := fields.Set{"involvedObject.kind": kind, "involvedObject.name": name}.AsSelector().String()
	var l corev1.EventList
	err := a.core.Get().Namespace(namespace).Resource("events").Param("fieldSelector", of).Param("limit", fmt.Sprint(maxEvents)).Do(ctx).Into(&l)
	return l.Items, err
}

// delete deletes one object of the core group, and no other that has its name meanwhile. One that is gone already is no error.
func (a *api) delete(ctx context.Context, namespace, resource, name string, uid types.UID) error {
	options := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	err := a.core.Delete().Namespace(namespace).Resource(resource).Name(name).Body(options).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (a *api) logs(ctx context.Context, namespace, pod string, parameters map[string]string) (io.ReadCloser, error) {
	r := a.core.Get().Namespace(namespace).Resource("pods").Name(pod).SubResource("log")
	for k, v := range parameters {
		r = r.Param(k, v)
	}
	return r.Stream(ctx)
}

// explain says what to do where the kind itself is not known.
func explain(err error) error {
	if apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return errors.New("this Kubernetes does not know RaftClusters: install the operator first (helm install raftkv charts/raftkv)")
	}
	return err
}
