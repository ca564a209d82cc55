package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// refused is a flag of etcd's that asks for what is not here, and that must not be ignored, since it would protect somebody or name other data. It is
// known so that whoever gives it is told why it is refused. What asks for nothing is taken.
type refused struct {
	name string
	// truth says that the flag may stand without a value, which is true then.
	truth bool
	// nothing are the values, beside the empty one and false, that ask for nothing.
	nothing []string
	why     string
}

const (
	noUsers     = "there are no users and no roles: leave it out"
	noDiscovery = "members are not looked up: name them all with --" + keyInitialCluster
	noOrigins   = "pages of other origins are refused, and other requests are not told apart by where they come from: leave it out, and have a proxy do so"
)

var refusals = []refused{
	{"auth-token", false, []string{"simple"}, noUsers},
	{"cors", false, []string{"*"}, noOrigins},
	{"host-whitelist", false, []string{"*"}, noOrigins},
	{"discovery", false, nil, noDiscovery},
	{"discovery-srv", false, nil, noDiscovery},
	{"discovery-srv-name", false, nil, noDiscovery},
	{"discovery-token", false, nil, noDiscovery},
	{"discovery-endpoints", false, nil, noDiscovery},
	{"discovery-proxy", false, nil, noDiscovery},
	{"proxy", false, []string{"off"}, "a node is always a member: leave it out, and run a proxy such as etcd's grpc-proxy"},
	{"wal-dir", false, nil, "the log is in --" + keyDataDir + ", beside the state: leave it out, and put that on the faster disk"},
	{"force-new-cluster", true, nil, "a cluster that has lost its quorum is founded anew by its operator, or from a snapshot by raftkv-node restore"},
}

// declareRefused declares them, hidden from the help.
func declareRefused(f *pflag.FlagSet) {
	for _, x := range refusals {
		if x.truth {
			f.Bool(x.name, false, x.why)
		} else {
			f.String(x.name, "", x.why)
		}
		f.Lookup(x.name).Hidden = true
	}
}

// refuse is the error of all that was asked for and is not here.
func refuse(f *pflag.FlagSet) error {
	var errs []error
	for _, x := range refusals {
		value := strings.Trim(f.Lookup(x.name).Value.String(), `[]'"`)
		if value != "" && value != "false" && !slices.Contains(x.nothing, value) {
			errs = append(errs, fmt.Errorf("--%s=%s: %s", x.name, value, x.why))
		}
	}
	return errors.Join(errs...)
}

// sections are the mappings of etcd's configuration file, with what the names of their keys begin with as flags.
var sections = map[string]string{"client-transport-security": "", "peer-transport-security": "peer-"}

// sectionKeys are those keys whose flags have another name.
var sectionKeys = map[string]string{
	"peer-allowed-cn": keyPeerAllowedCN, "peer-allowed-hostname": keyPeerAllowedHost, "crl-file": keyClientCRLFile,
	"allowed-hostname": keyClientAllowedHost,
}

// flagOf is the flag of a key in a section, empty if it is in none.
func flagOf(key string) string {
	section, name, within := strings.Cut(key, delimiter)
	prefix, ok := sections[section]
	if !ok || !within {
		return ""
	}
	name = prefix + name
	if other := sectionKeys[name]; other != "" {
		return other
	}
	return name
}
