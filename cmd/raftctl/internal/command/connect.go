package command

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

// forwardTimeout bounds the opening of a port-forward, which takes several trips to the API server and on to a machine.
const forwardTimeout = 3 * time.Second

// kubernetes reads the kubeconfig.
func (a *app) kubernetes() (*cluster.Kubernetes, error) {
	return cluster.Connect(cluster.Settings{
		Kubeconfig: a.kubeconfig, Context: a.kubeContext, Namespace: a.namespace, UserAgent: "raftctl/" + a.Version, Program: a.program() + a.where(),
	})
}

// where is the flags that name the Kubernetes this command speaks to, in words for a shell; empty for the usual one. Commands that are proposed have them, since
// another Kubernetes may well have a RaftCluster of the same name in a namespace of the same name.
func (a *app) where() string {
	out := ""
	if a.kubeconfig != "" {
		out += " --kubeconfig " + quoted(a.kubeconfig)
	}
	if a.kubeContext != "" {
		out += " --context " + quoted(a.kubeContext)
	}
	return out
}

// plainWord is what no shell takes for more than a word.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// addresses are the endpoints that were given, by flag or environment.
func (a *app) addresses() []string {
	if len(a.endpoints) > 0 {
		return a.endpoints
	}
	var out []string
	for e := range strings.SplitSeq(a.Getenv(EnvEndpoints), ",") {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		out = []string{defaultEndpoint}
	}
	return out
}

// connect opens the store that --endpoints or --cluster name. The given addresses are kept to: those by which members know each other need not be
// reachable from here. Through port-forwards they are, so that there the client follows the membership.
func (a *app) connect(ctx context.Context) (*client.Client, error) {
	return a.connectWith(ctx, a.cluster, 1)
}

// connectWith is connect to a RaftCluster, or to --endpoints if its name is empty, over so many connections to each member.
func (a *app) connectWith(ctx context.Context, clusterName string, connections int) (*client.Client, error) {
	encrypted, err := a.trust.config(a.Getenv)
	if err != nil {
		return nil, err
	}
	config := client.Config{Endpoints: a.addresses(), TLS: encrypted, StaticEndpoints: true, CallTimeout: a.timeout, ConnectionsPerMember: connections}
	if clusterName != "" {
		k, err := a.kubernetes()
		if err != nil {
			return nil, err
		}
		endpoints, err := k.Endpoints(ctx, clusterName)
		if err != nil {
			return nil, err
		}
		config.Endpoints, config.StaticEndpoints = endpoints, false
		config.DialTimeout, config.AttemptTimeout = forwardTimeout, forwardTimeout
		config.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
			return k.Dial(ctx, clusterName, address)
		}
	}
	c, err := client.Open(config)
	if err != nil {
		return nil, &usageError{err}
	}
	return c, nil
}

// withStore runs a command that takes its time and no more on the store.
func (a *app) withStore(cmd *cobra.Command, do func(context.Context, *client.Client) error) error {
	ctx, cancel := a.bounded(cmd)
	defer cancel()
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return do(ctx, c)
}

// bytes is a key or value as it was given.
func (a *app) bytes(what, given string) ([]byte, error) {
	if !a.hex {
		return []byte(given), nil
	}
	b, err := hex.DecodeString(given)
	if err != nil {
		return nil, usage("%s %q is not hexadecimal, as --hex says", what, given)
	}
	return b, nil
}

// shown is how keys and values are written.
func (a *app) shown() output.Bytes { return output.Bytes{Hex: a.hex} }

// rangeFlags choose keys.
type rangeFlags struct{ prefix, from, all bool }

func (r *rangeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&r.prefix, "prefix", false, "all keys that begin with KEY")
	f.BoolVar(&r.from, "from", false, "all keys from KEY on")
	f.BoolVar(&r.all, "all", false, "all keys; KEY is left out")
	cmd.MarkFlagsMutuallyExclusive("prefix", "from", "all")
}

// keys are the keys that words and flags name; single tells that it is one.
func (r *rangeFlags) keys(a *app, words []string) (keys client.Keys, single bool, err error) {
	if r.all {
		if len(words) > 0 {
			return keys, false, usage("--all takes no key, and %q was given", words[0])
		}
		return client.All(), false, nil
	}
	if len(words) == 0 {
		return keys, false, usage("KEY is missing; --all means all keys")
	}
	var given []string
	for _, w := range words {
		b, err := a.bytes("key", w)
		if err != nil {
			return keys, false, err
		}
		given = append(given, string(b))
	}
	switch {
	case len(given) == 2 && (r.prefix || r.from):
		return keys, false, usage("--prefix and --from take one key, and %q was given besides", words[1])
	case len(given) == 2 && given[1] == "":
		return keys, false, usage("END is empty; --from means all keys from KEY on")
	case len(given) == 2:
		return client.Span(given[0], given[1]), false, nil
	case r.prefix:
		return client.Prefix(given[0]), false, nil
	case r.from:
		return client.From(given[0]), false, nil
	case given[0] == "":
		return keys, false, usage("KEY is empty; --all means all keys")
	}
	return client.Key(given[0]), true, nil
}

// keyValue is one version of one key in JSON.
type keyValue struct {
	Key         *string `json:"key,omitempty"`
	KeyBase64   []byte  `json:"keyBase64,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"valueBase64,omitempty"`

	CreateRevision uint64 `json:"createRevision,string"`
	ModRevision    uint64 `json:"modRevision,string"`
	Version        uint64 `json:"version,string"`
	Lease          string `json:"lease,omitempty"`
}

func (a *app) keyValue(kv client.KeyValue, valueToo bool) keyValue {
	out := keyValue{CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version, Lease: formatLease(kv.Lease)}
	out.Key, out.KeyBase64 = a.shown().JSON(kv.Key)
	if valueToo {
		out.Value, out.ValueBase64 = a.shown().JSON(kv.Value)
	}
	return out
}

func (a *app) keyValues(items []client.KeyValue, valuesToo bool) []keyValue {
	out := make([]keyValue, 0, len(items))
	for _, kv := range items {
		out = append(out, a.keyValue(kv, valuesToo))
	}
	return out
}

// rows writes keys as a table.
func (a *app) rows(r *output.Rows, items []client.KeyValue, valuesToo bool) {
	head := []any{"KEY", "VALUE", "MODIFIED", "VERSION", "LEASE"}
	if !valuesToo {
		head = []any{"KEY", "MODIFIED", "VERSION", "LEASE"}
	}
	r.Row(head...)
	for _, kv := range items {
		cells := []any{a.shown().Cell(kv.Key)}
		if valuesToo {
			cells = append(cells, a.shown().Cell(kv.Value))
		}
		r.Row(append(cells, kv.ModRevision, kv.Version, formatLease(kv.Lease))...)
	}
}

// plural is a number with its noun.
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
