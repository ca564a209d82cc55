// Command raftkv-operator runs the Kubernetes operator: it watches RaftClusters and brings them to what their specs ask for.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers"
	"github.com/raftkv/raftkv/controllers/nodes"
)

// version is set by the linker.
var version = "dev"

const (
	defaultLeaseName = "raftkv-operator.raftkv.io"

	// The lease is given back at the end of a process, so that these matter only after a crash.
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second

	// defaultQPS and defaultBurst bound the requests to the API server, of all kinds together. The API server shares itself out fairly (API Priority and
	// Fairness), so that this is only to bound a mistake; a thousand RaftClusters that are created at once take some ninety thousand requests.
	defaultQPS   = 1000
	defaultBurst = 2000

	// gcPercent is how much garbage there may be, in percent of what is in use: most of the time nothing happens, and memory is dearer then than the
	// collector's work.
	gcPercent = 25
)

func main() {
	o, err := parseOptions(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if o.version {
		fmt.Println("raftkv-operator", version)
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log := newLogger(o.logLevel, o.logFormat, os.Stderr)
	if err := run(o, log); err != nil {
		log.Error(err, "the operator ends")
		os.Exit(1)
	}
}

func run(o options, log logr.Logger) error {
	ctrl.SetLogger(log)
	klog.SetLogger(log)

	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1.AddToScheme(scheme))

	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the Kubernetes API server (run inside a cluster, or set KUBECONFIG): %w", err)
	}
	config.UserAgent = "raftkv-operator/" + version
	election := rest.CopyConfig(config)
	o.limit(config)

	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                  scheme,
		Cache:                   controllers.CacheOptions(o.namespaces),
		Metrics:                 metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:  o.healthAddress,
		LeaderElection:          o.leaderElect,
		LeaderElectionID:        o.leaseName,
		LeaderElectionNamespace: o.leaseNamespace,
		// To keep the lease must not wait for the requests of a thousand clusters.
		LeaderElectionConfig:          election,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(leaseDuration),
		RenewDeadline:                 new(renewDeadline),
		RetryPeriod:                   new(retryPeriod),
		Client:                        client.Options{Cache: &client.CacheOptions{DisableFor: controllers.Uncached()}},
	})
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	r := controllers.NewReconciler(manager.GetClient(), manager.GetAPIReader(),
		manager.GetEventRecorder("raftkv-operator"), nodes.DialRPC, o.nodeImage)
	if err := r.SetupWithManager(manager); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	if err := manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := manager.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	log.Info("starting", "version", version, "nodeImage", o.nodeImage, "namespaces", namespacesText(o.namespaces))
	return manager.Start(ctrl.SetupSignalHandler())
}

// limit bounds the requests of all clients that are made from the configuration, by one limiter: otherwise each kind of object has one of its own. None of them
// waits for an eviction that is refused.
func (o options) limit(config *rest.Config) {
	config.Wrap(controllers.AtOnce)
	config.QPS, config.Burst, config.RateLimiter = -1, 0, nil
	if o.qps > 0 {
		config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(float32(o.qps), o.burst)
	}
}

func namespacesText(namespaces []string) string {
	if len(namespaces) == 0 {
		return "all"
	}
	return strings.Join(namespaces, ",")
}

// options are the operator's flags.
type options struct {
	metricsAddress, healthAddress string
	leaderElect, version          bool
	leaseNamespace, leaseName     string
	namespaces                    []string
	nodeImage                     string
	logLevel, logFormat           string
	qps                           float64
	burst                         int
}

func parseOptions(args []string, errorOutput io.Writer) (options, error) {
	var o options
	var namespaces string
	f := flag.NewFlagSet("raftkv-operator", flag.ContinueOnError)
	f.SetOutput(errorOutput)
	f.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "host:port of /metrics; 0 for none")
	f.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "host:port of /healthz and /readyz; 0 for none")
	f.BoolVar(&o.leaderElect, "leader-elect", false, "work only while holding a lease, so that several operators can run at the same time")
	f.StringVar(&o.leaseNamespace, "leader-election-namespace", "", "namespace of the lease; empty for that of the operator's pod")
	f.StringVar(&o.leaseName, "leader-election-id", defaultLeaseName, "name of the lease: operators that are not to wait for each other, since they run other RaftClusters, have different ones")
	f.StringVar(&namespaces, "watch-namespaces", "", "comma-separated namespaces whose RaftClusters are run; empty for all")
	f.StringVar(&o.nodeImage, "node-image", "raftkv/node:"+version, "node image of new RaftClusters that name none")
	f.Float64Var(&o.qps, "kube-api-qps", defaultQPS, "requests to the API server in a second, on average; 0 for no bound of the operator's own")
	f.IntVar(&o.burst, "kube-api-burst", defaultBurst, "requests to the API server in one moment")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "json", "json or text")
	f.BoolVar(&o.version, "version", false, "print the version and end")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: the operator takes flags only; see --help", f.Arg(0))
	}
	for n := range strings.SplitSeq(namespaces, ",") {
		if n = strings.TrimSpace(n); n == "" {
			continue
		}
		if len(validation.IsDNS1123Label(n)) > 0 {
			return o, fmt.Errorf("--watch-namespaces: %q is no name of a namespace; leave the flag out for all namespaces", n)
		}
		o.namespaces = append(o.namespaces, n)
	}
	switch {
	case o.qps < 0 || math.IsNaN(o.qps) || math.IsInf(o.qps, 0):
		return o, fmt.Errorf("--kube-api-qps %v: must be 0, which is no bound, or more", o.qps)
	case o.qps > 0 && float64(o.burst) < max(o.qps, 1):
		return o, fmt.Errorf("--kube-api-burst %d: must be at least --kube-api-qps, which is %v", o.burst, o.qps)
	}
	if len(validation.IsDNS1123Subdomain(o.leaseName)) > 0 {
		return o, fmt.Errorf("--leader-election-id %q: must be the name of a Lease, such as %s", o.leaseName, defaultLeaseName)
	}
	if o.nodeImage == "" {
		return o, errors.New("--node-image must not be empty: it is what new RaftClusters run")
	}
	if _, ok := logLevels[o.logLevel]; !ok {
		return o, fmt.Errorf("--log-level %q: must be debug, info, warn or error", o.logLevel)
	}
	if o.logFormat != "json" && o.logFormat != "text" {
		return o, fmt.Errorf("--log-format %q: must be json or text", o.logFormat)
	}
	return o, nil
}
