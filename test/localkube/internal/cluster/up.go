package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raftkv/raftkv/test/localkube/internal/artifacts"
	"github.com/raftkv/raftkv/test/localkube/internal/machine"
	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/pki"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
	"github.com/raftkv/raftkv/test/localkube/internal/render"
)

// The first port for the API server on the machine's loopback, and how many are tried from there on.
const (
	firstAPIPort = 16443
	apiPorts     = 100
)

// Cluster names a local cluster; it may exist or not.
type Cluster struct {
	Name string
	Base string    // folder that holds the folders of all clusters
	Out  io.Writer // gets one line for each step
	// Store is what the control plane of a new cluster keeps its state in.
	Store render.Store
	// InitCommand is the argument list by which this program runs member.Init for a member, but for the member's name.
	InitCommand func(work, member string) []string
}

// Up makes the cluster run with that many nodes. A running one is left as it is; stopped nodes of it are started; what a
// killed run left is removed first.
func (c Cluster) Up(ctx context.Context, nodes int) (err error) {
	started := time.Now()
	p, err := plan.New(c.Name, c.Base, nodes)
	if err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	up, err := c.already(ctx, p)
	if up || err != nil {
		return err
	}
	if err := machine.Verdict(machine.Preflight(p.Work)); err != nil {
		return err
	}
	build, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	if err := c.clear(p); err != nil {
		return err
	}
	if err := c.create(ctx, p, build); err != nil {
		return err
	}
	c.say("cluster %s is up with %s in %v; use it with:", p.Name, count(nodes, "node"), time.Since(started).Round(100*time.Millisecond))
	c.say("  export KUBECONFIG=%s PATH=%s:$PATH", p.Kubeconfig(), build.Bin)
	return nil
}

func (c Cluster) say(format string, args ...any) { fmt.Fprintf(c.Out, format+"\n", args...) }

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// already says whether a complete cluster runs, after it has started those of its nodes that were stopped.
func (c Cluster) already(ctx context.Context, p plan.Plan) (bool, error) {
	s, processes, err := c.running()
	if errors.Is(err, ErrNotUp) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if len(s.Plan.Nodes) != len(p.Nodes) {
		return false, fmt.Errorf("cluster %s runs with %s; take it down first to get %d: localkube down --name %s",
			p.Name, count(len(s.Plan.Nodes), "node"), len(p.Nodes), p.Name)
	}
	if s.Build.Store != c.Store {
		return false, fmt.Errorf("cluster %s runs on another store (%s); take it down first to get one on %s: localkube down --name %s",
			p.Name, s.Build.Store, c.Store, p.Name)
	}
	var stopped []string
	for _, n := range s.Plan.Nodes {
		if _, ok := processes[n.Name]; !ok {
			stopped = append(stopped, n.Name)
		}
	}
	if len(stopped) == 0 {
		c.say("cluster %s is up already, with %s; KUBECONFIG=%s", p.Name, count(len(p.Nodes), "node"), p.Kubeconfig())
		if len(s.Cut) > 0 {
			c.say("cut off from the others: %s; join them again with localkube heal", strings.Join(s.Cut, ", "))
		}
		return true, nil
	}
	for _, name := range stopped {
		c.say("starting %s, which was stopped", name)
		if err := c.startNode(ctx, s, processes[plan.ControlName], name); err != nil {
			return false, err
		}
	}
	return true, c.awaitNodes(ctx, s, stopped)
}

// Prepare installs what is missing and builds what is not in the cache.
func (c Cluster) Prepare(ctx context.Context) error {
	_, err := c.prepare(ctx)
	return err
}

func (c Cluster) prepare(ctx context.Context) (render.Build, error) {
	if missing := machine.MissingPackages(); len(missing) > 0 {
		c.say("installing with apt-get: %s (no service of them is started)", strings.Join(missing, ", "))
		if err := machine.Install(missing, c.Out); err != nil {
			return render.Build{}, err
		}
	}
	set, err := artifacts.Build(ctx, c.Out)
	if err != nil {
		return render.Build{}, err
	}
	store, err := c.storeProgram(ctx)
	if err != nil {
		return render.Build{}, err
	}
	cni, err := machine.CNIFolder()
	if err != nil {
		return render.Build{}, err
	}
	containerd, err := exec.LookPath("containerd")
	if err != nil {
		return render.Build{}, err
	}
	ctr, err := exec.LookPath("ctr")
	if err != nil {
		return render.Build{}, err
	}
	return render.Build{
		Bin: set.Bin, Store: c.Store, StoreProgram: store, Containerd: containerd, Ctr: ctr, CNIFolder: cni,
		PauseImage: set.PauseImage, CoreDNSImage: set.CoreDNSImage, ImageFiles: set.ImageFiles,
	}, nil
}

// storeProgram is where the store's program is, or will be: raftkv's is put into the folder of the cluster that runs it and goes with it.
// It is compiled before there is one, so that preparing leaves little to be done.
func (c Cluster) storeProgram(ctx context.Context) (string, error) {
	if c.Store == render.StoreEtcd {
		path, err := exec.LookPath("etcd")
		if err != nil {
			return "", fmt.Errorf("--store etcd takes the etcd in PATH: %w; `make bench` leaves one in build/bench", err)
		}
		return filepath.Abs(path)
	}
	p, err := c.anyPlan()
	if err != nil {
		return "", err
	}
	return filepath.Join(p.Bin(), "raftkv-node"), artifacts.BuildStore(ctx, "")
}

// create makes a cluster where there is none.
func (c Cluster) create(ctx context.Context, p plan.Plan, build render.Build) error {
	listener, port, err := listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	s := state{Plan: p, Build: build, APIPort: port}
	if err := c.writeFiles(s); err != nil {
		return err
	}
	if build.Store == render.StoreRaftkv {
		if err := artifacts.BuildStore(ctx, build.StoreProgram); err != nil {
			return err
		}
	}
	c.say("starting the control plane on %s and %s", build.Store, count(len(p.Nodes), "node"))
	file, err := listener.File()
	if err != nil {
		return err
	}
	defer file.Close()
	control, err := member.Start(p.Work, plan.ControlName, c.InitCommand(p.Work, plan.ControlName), file)
	if err != nil {
		return err
	}
	if err := ipBatch(ctx, control, render.ControlNetwork(p)); err != nil {
		return err
	}
	var names []string
	for _, n := range p.Nodes {
		if err := c.startNode(ctx, s, control, n.Name); err != nil {
			return err
		}
		names = append(names, n.Name)
	}
	if err := c.awaitControl(ctx, s); err != nil {
		return err
	}
	if err := bootstrap(ctx, s); err != nil {
		return err
	}
	if err := c.awaitNodes(ctx, s, names); err != nil {
		return err
	}
	if err := c.awaitDNS(ctx, s); err != nil {
		return err
	}
	s.Complete = true
	return s.save()
}

// listen takes a port of the machine's loopback for the API server. Only it is outside of the cluster's namespaces.
func listen() (*net.TCPListener, int, error) {
	var last error
	for port := firstAPIPort; port < firstAPIPort+apiPorts; port++ {
		listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			return listener, port, nil
		}
		last = err
	}
	return nil, 0, fmt.Errorf("no port from %d to %d is free on 127.0.0.1: %w", firstAPIPort, firstAPIPort+apiPorts-1, last)
}

// writeFiles makes the cluster's folder, its certificates, the configuration of every program, and its cgroups.
func (c Cluster) writeFiles(s state) error {
	p := s.Plan
	if err := os.MkdirAll(p.Work, 0o755); err != nil {
		return err
	}
	if err := s.save(); err != nil {
		return err
	}
	authority, err := pki.NewAuthority(p.PKI())
	if err != nil {
		return err
	}
	for _, id := range render.Identities(p) {
		if err := authority.Issue(id); err != nil {
			return err
		}
	}
	if err := errors.Join(authority.AuthorityKey(), authority.SigningKey("service-accounts")); err != nil {
		return err
	}
	cgroups, err := machine.DetectCgroups()
	if err != nil {
		return err
	}
	specs := []member.Spec{controlSpec(p, s.Build)}
	files := map[string]map[string]string{plan.ControlName: render.ControlFiles(p)}
	for _, n := range p.Nodes {
		specs = append(specs, nodeSpec(p, n, s.Build))
		files[n.Name] = render.NodeFiles(p, n, s.Build)
		if err := os.MkdirAll(filepath.Join(p.Volumes(), n.Name), 0o755); err != nil {
			return err
		}
	}
	for _, spec := range specs {
		if err := cgroups.Create(p.Cgroup(spec.Name)); err != nil {
			return err
		}
		spec.Cgroups = cgroups.System(p.Cgroup(spec.Name))
		if err := member.WriteSpec(member.SpecFile(p.Work, spec.Name), spec); err != nil {
			return err
		}
		if err := writeAll(p.Config(spec.Name), files[spec.Name]); err != nil {
			return err
		}
		folders := []string{p.Disk(spec.Name), spec.LogDir}
		for _, source := range spec.PrivateFolders {
			folders = append(folders, source)
		}
		for _, folder := range folders {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(p.Kubeconfig(), []byte(render.Kubeconfig(p, "admin", apiURL(s.APIPort))), 0o600)
}

func writeAll(folder string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func controlSpec(p plan.Plan, build render.Build) member.Spec {
	return member.Spec{
		Name: plan.ControlName, Work: p.Work, LogDir: p.Logs(plan.ControlName), StatusFile: statusFile(p, plan.ControlName),
		ForwardTo: strings.TrimPrefix(p.APIServerURL(), "https://"),
		Programs:  render.ControlPrograms(p, build),
	}
}

func nodeSpec(p plan.Plan, n plan.Node, build render.Build) member.Spec {
	return member.Spec{
		Name: n.Name, Work: p.Work, LogDir: p.Logs(n.Name), StatusFile: statusFile(p, n.Name),
		PrivateRun: true, PrivateFolders: render.NodePrivateFolders(p, n),
		Sysctls: render.NodeSysctls, ShownSysctls: render.NodeShownSysctls,
		Programs: render.NodePrograms(p, n, build),
	}
}

func statusFile(p plan.Plan, name string) string {
	return filepath.Join(p.Work, "members", name+".status")
}

// startNode starts a node's processes and lays its cable.
func (c Cluster) startNode(ctx context.Context, s state, control member.Process, name string) error {
	n, err := s.Plan.Node(name)
	if err != nil {
		return err
	}
	process, err := member.Start(s.Plan.Work, name, c.InitCommand(s.Plan.Work, name), nil)
	if err != nil {
		return err
	}
	// Whoever still has a socket in the network that the node had before it was stopped, as a test's client may, keeps that network, and the old cable. Mostly there
	// is none, which is an error; any other one shows when the new cable is laid.
	_ = ipBatch(ctx, control, render.Unlay(n)+"\n")
	if err := ipBatch(ctx, control, render.Cable(n, process.PID, !slices.Contains(s.Cut, name))); err != nil {
		return err
	}
	return ipBatch(ctx, process, render.NodeNetwork(s.Plan, n))
}

// bootstrap applies what every cluster has.
func bootstrap(ctx context.Context, s state) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.Build.Bin, "kubectl"),
		"--kubeconfig", s.Plan.Kubeconfig(), "apply", "--server-side", "--filename", "-")
	cmd.Stdin = strings.NewReader(render.Bootstrap(s.Plan, s.Build))
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set up DNS and volumes: %w: %s", err, text)
	}
	return nil
}

// clear removes what a killed run left.
func (c Cluster) clear(p plan.Plan) error {
	if _, err := os.Stat(p.Work); errors.Is(err, fs.ErrNotExist) {
		left, err := remains(p)
		if err != nil || len(left) == 0 {
			return err
		}
	}
	c.say("clearing what an earlier run left in %s", p.Work)
	return remove(p)
}
