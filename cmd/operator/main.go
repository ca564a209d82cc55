// Command raftkv-operator runs the Kubernetes operator: it watches RaftClusters and brings them to what their specs ask for.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
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
	leaseName = "raftkv-operator.raftkv.io"

	// The lease is given back at the end of a process, so that these matter only after a crash.
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second

	// apiQPS and apiBurst bound the requests to the API server.
	apiQPS   = 100
	apiBurst = 200
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
	config.QPS, config.Burst = apiQPS, apiBurst
	config.UserAgent = "raftkv-operator/" + version

	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controllers.CacheOptions(o.namespaces),
		Metrics:                       metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:        o.healthAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       o.leaseNamespace,
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
	leaseNamespace                string
	namespaces                    []string
	nodeImage                     string
	logLevel, logFormat           string
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
	f.StringVar(&namespaces, "watch-namespaces", "", "comma-separated namespaces whose RaftClusters are run; empty for all")
	f.StringVar(&o.nodeImage, "node-image", "raftkv/node:"+version, "node image of new RaftClusters that name none")
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
		if n = strings.TrimSpace(n); n != "" {
			o.namespaces = append(o.namespaces, n)
		}
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
