package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/transport"
)

// Bounds of what may be configured.
const (
	maxNameBytes          = 255
	minHeartbeatMillis    = 5
	maxElectionMillis     = 50_000
	minElectionHeartbeats = 5
	// minSnapshotCount is what is applied at least between two compactions of the log. A setting below it is raised to it: etcd takes any, and
	// keeps so many entries besides that few followers ever need a snapshot, which here are half of them.
	minSnapshotCount = 100
	// minQuotaBytes is three times what an empty store takes.
	minQuotaBytes = 48 << 10
	maxQuotaBytes = 1 << 40
	// hardMaxKeyBytes is what the store's format takes, less a byte that the end of a range may have more; hardMaxValueBytes keeps one write
	// well within a frame and an append message.
	hardMaxKeyBytes   = kv.MaxKeyBytes - 1
	hardMaxValueBytes = 8 << 20
	// hardMaxRequestBytes is what keys and values of one request may take, requestSlackBytes what a request has beside them.
	hardMaxRequestBytes = 16 << 20
	requestSlackBytes   = 4 << 10
	// hardMaxTxnOps is what one command holds, all lists together.
	hardMaxTxnOps    = kv.MaxCommandOps
	minWatchProgress = 100 * time.Millisecond
	// maxCompactionAge is more than any history can be kept for.
	maxCompactionAge = 10 * 365 * 24 * time.Hour
)

// reader collects the values and all that is wrong with them.
type reader struct {
	flags *pflag.FlagSet
	errs  []error
}

func (r *reader) failf(key, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("--%s: %s", key, fmt.Sprintf(format, args...)))
}

func (r *reader) text(key string) string {
	v, _ := r.flags.GetString(key)
	return strings.TrimSpace(v)
}

func (r *reader) integer(key string) int {
	v, _ := r.flags.GetInt(key)
	return v
}

func validate(f *pflag.FlagSet) (Config, error) {
	r := &reader{flags: f}
	own, single := r.single()
	c := Config{
		Name:                   r.name(single),
		ListenClient:           r.listenClients(),
		ListenPeer:             r.listenWith(keyListenPeer, splitList(r.text(keyListenPeer))),
		ListenMetrics:          r.listenWith(keyListenMetrics, splitList(r.text(keyListenMetrics))),
		InitialClusterToken:    r.text(keyInitialClusterToken),
		InitialClusterTokenSet: f.Changed(keyInitialClusterToken),
		AdminTokenFile:         r.text(keyAdminTokenFile),
	}
	c.DataDir = r.text(keyDataDir)
	if c.DataDir == "" && c.Name != "" {
		c.DataDir = c.Name + ".raftkv"
	}
	if single {
		c.InitialCluster = []StaticMember{own}
	} else {
		r.cluster(&c)
	}
	r.advertise(&c)
	r.existing(&c)
	r.tls(&c)
	r.timing(&c)
	r.limits(&c)
	r.logging(&c)
	r.reachable(&c)
	r.apart(&c)
	r.ignored(&c)
	if err := errors.Join(r.errs...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// singleName is the name of a node that is started without one, as etcd has it, and singlePeer the peer address of one that cannot be
// dialled by others.
const (
	singleName = "default"
	singlePeer = "localhost:2380"
)

// single recognises a node that is started as etcd is for a try, or by drivers of tests: without a name, a cluster, or an administrator. It is
// a cluster of its own, under etcd's default name. Others can be added to it if its peer URL can be dialled; but it may also
// listen for none, or on a port that the system chooses.
func (r *reader) single() (own StaticMember, ok bool) {
	if r.text(keyName) != "" || r.text(keyInitialCluster) != "" || r.text(keyAdminTokenFile) != "" || r.text(keyInitialClusterState) != string(ClusterNew) {
		return StaticMember{}, false
	}
	for _, u := range append(splitList(r.text(keyAdvertisePeer)), splitList(r.text(keyListenPeer))...) {
		if a, err := dialable(u); err == nil {
			return StaticMember{Name: singleName, PeerAddress: a}, true
		}
	}
	peers := splitList(r.text(keyListenPeer))
	if len(peers) == 0 && r.text(keyListenClient) == "" || slices.ContainsFunc(peers, func(u string) bool { return !chosenPort(u) }) {
		return StaticMember{}, false
	}
	return StaticMember{Name: singleName, PeerAddress: singlePeer}, true
}

// chosenPort tells whether a URL is an address of this machine alone, with a port that the system chooses.
func chosenPort(text string) bool {
	l, err := parse(text)
	return err == nil && strings.HasSuffix(l.Address, ":0") && !l.Unspecified()
}

// ignored notes what was asked for and is not done.
func (r *reader) ignored(c *Config) {
	if unsafe, _ := r.flags.GetBool(keyUnsafeNoFsync); unsafe {
		c.Warnings = append(c.Warnings, "--"+keyUnsafeNoFsync+" is ignored: this node always waits for its disk before it acknowledges a write")
	}
	c.Warnings = append(c.Warnings, foreignWarnings(r.flags)...)
}

func (r *reader) name(single bool) string {
	name := r.text(keyName)
	switch {
	case single:
		return singleName
	case name == "":
		r.failf(keyName, "give the node a name that no other node of the cluster has, such as --%s a; only a node with nothing but listeners, of which "+
			"--%s is one that can be dialled, is a cluster of its own without one", keyName, keyListenPeer)
	case len(name) > maxNameBytes:
		r.failf(keyName, "%d bytes long, the limit is %d", len(name), maxNameBytes)
	case !validName(name):
		r.failf(keyName, "%q: a name has no spaces, commas, slashes or equals signs", name)
	}
	return name
}

func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsFunc(name, func(c rune) bool {
		return c == ',' || c == '=' || c == '/' || unicode.IsSpace(c) || !unicode.IsPrint(c)
	})
}

// The schemes of URLs, without and with TLS; and those of the path of a socket, absolute or in the working directory.
const (
	plain            = "http"
	secure           = "https"
	unixScheme       = "unix://"
	unixSecureScheme = "unixs://"
	secureScheme     = secure + "://"
)

// parse takes http://host:port or https://host:port apart.
func parse(text string) (Listen, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return Listen{}, fmt.Errorf("%q is not a URL: write it like http://127.0.0.1:2380", text)
	}
	switch {
	case u.Scheme != plain && u.Scheme != secure:
		return Listen{}, fmt.Errorf("%q: the scheme must be http or https", text)
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "", u.User != nil:
		return Listen{}, fmt.Errorf("%q: only host and port may follow %s://", text, u.Scheme)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return Listen{}, fmt.Errorf("%q: the port is missing: write it like http://127.0.0.1:2380, an IPv6 address in brackets", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return Listen{}, fmt.Errorf("%q: %q is not a port number", text, port)
	}
	return Listen{Address: net.JoinHostPort(host, port), TLS: u.Scheme == secure}, nil
}

// listenClients also takes sockets: only peers are dialled by address.
func (r *reader) listenClients() []Listen {
	var out []Listen
	for _, key := range []string{keyListenClient, keyListenClientHTTP} {
		var urls []string
		for _, part := range splitList(r.text(key)) {
			path, unix := strings.CutPrefix(part, unixScheme)
			encrypted := false
			if !unix {
				path, encrypted = strings.CutPrefix(part, unixSecureScheme)
			}
			switch {
			case !unix && !encrypted:
				urls = append(urls, part)
			case path == "" || strings.ContainsAny(path, "?#"):
				r.failf(key, "%q names no socket: write it like unix:///run/raftkv.sock", part)
			default:
				out = append(out, Listen{Address: path, Unix: true, TLS: encrypted})
			}
		}
		out = append(out, r.listenWith(key, urls)...)
	}
	return out
}

// listenWith gives one listener to an address that is named with TLS and without.
func (r *reader) listenWith(key string, urls []string) []Listen {
	var out []Listen
	for _, part := range urls {
		l, err := parse(part)
		if err != nil {
			r.failf(key, "%v", err)
			continue
		}
		at := slices.IndexFunc(out, func(x Listen) bool { return x.Address == l.Address && !strings.HasSuffix(l.Address, ":0") })
		switch {
		case at < 0:
			out = append(out, l)
		case out[at].TLS == l.TLS || out[at].Both:
			r.failf(key, "%q is given twice", part)
		default:
			out[at].TLS, out[at].Both = true, true
		}
	}
	return out
}

func splitList(text string) []string {
	var out []string
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// errNoHost and errNoPort are about addresses that can be listened on, but not dialled.
var (
	errNoHost = errors.New("names no host that others could dial")
	errNoPort = errors.New("port 0, which nobody can dial")
)

// dialable checks an address that other members are to dial, and returns it as they are told it.
func dialable(text string) (string, error) {
	l, err := reachable(text)
	return l.told(), err
}

// reachable checks an address that others are to dial.
func reachable(text string) (Listen, error) {
	l, err := parse(text)
	switch {
	case err != nil:
		return Listen{}, err
	case l.Unspecified():
		return Listen{}, fmt.Errorf("%q %w", text, errNoHost)
	case strings.HasSuffix(l.Address, ":0"):
		return Listen{}, fmt.Errorf("%q has %w", text, errNoPort)
	}
	return l, nil
}

// told is how others are told an address: without a scheme where there is no TLS, as it has always been.
func (l Listen) told() string {
	if l.TLS {
		return l.String()
	}
	return l.Address
}

// urlOf is the URL of what others are told.
func urlOf(told string) string {
	if strings.HasPrefix(told, secureScheme) {
		return told
	}
	return (&url.URL{Scheme: plain, Host: told}).String()
}

func (r *reader) cluster(c *Config) {
	switch s := ClusterState(r.text(keyInitialClusterState)); s {
	case ClusterNew, ClusterExisting:
		c.InitialClusterState = s
	default:
		r.failf(keyInitialClusterState, "%q: write new or existing", s)
	}
	if c.InitialClusterToken == "" {
		r.failf(keyInitialClusterToken, "must not be empty")
	}
	existing := c.InitialClusterState == ClusterExisting
	names, addresses := map[string]bool{}, map[string]string{}
	for _, part := range splitList(r.text(keyInitialCluster)) {
		name, target, ok := strings.Cut(part, "=")
		if ok && name == "" && existing {
			continue // what etcdctl prints of a member that was not started yet, which could answer nothing
		}
		if !ok || !validName(name) {
			r.failf(keyInitialCluster, "%q: write NAME=URL, such as a=http://127.0.0.1:2380", part)
			continue
		}
		a, err := dialable(target)
		if err != nil {
			r.failf(keyInitialCluster, "member %s: %v", name, err)
			continue
		}
		if names[name] {
			r.failf(keyInitialCluster, "member %s is named twice; a member has one peer URL", name)
			continue
		}
		place := strings.TrimPrefix(a, secureScheme)
		if other := addresses[place]; other != "" {
			r.failf(keyInitialCluster, "members %s and %s have the same URL", other, name)
			continue
		}
		names[name], addresses[place] = true, name
		c.InitialCluster = append(c.InitialCluster, StaticMember{Name: name, PeerAddress: a})
	}
	switch n := len(c.InitialCluster); {
	case !existing && n > raft.MaxVoters:
		r.failf(keyInitialCluster, "%d members, a cluster has at most %d voters", n, raft.MaxVoters)
	case n > raft.MaxMembers:
		r.failf(keyInitialCluster, "%d members, a cluster has at most %d", n, raft.MaxMembers)
	}
	if len(c.InitialCluster) > 0 && c.Name != "" && !names[c.Name] {
		r.failf(keyInitialCluster, "does not name this node, %q: add %s=URL or start the node under one of the names in it", c.Name, c.Name)
	}
}

// existing makes what is named of a running cluster the members that are asked for this node's place in it.
func (r *reader) existing(c *Config) {
	if c.InitialClusterState != ClusterExisting {
		return
	}
	named := c.InitialCluster
	c.InitialCluster = nil
	if c.AdminTokenFile != "" {
		return
	}
	for _, m := range named {
		if m.Name != c.Name && m.PeerAddress != c.AdvertisePeer {
			c.ExistingCluster = append(c.ExistingCluster, m)
		}
	}
}

func (r *reader) advertise(c *Config) {
	r.advertiseClient(c)
	own := ""
	for _, m := range c.InitialCluster {
		if m.Name == c.Name {
			own = m.PeerAddress
		}
	}
	if r.text(keyAdvertisePeer) == "" && own != "" {
		c.AdvertisePeer = own
		return
	}
	switch parts := splitList(r.text(keyAdvertisePeer)); len(parts) {
	case 0:
		c.AdvertisePeer = firstDialable(c.ListenPeer)
	case 1:
		var err error
		if c.AdvertisePeer, err = dialable(parts[0]); err != nil {
			r.failf(keyAdvertisePeer, "%v", err)
		}
	default:
		r.failf(keyAdvertisePeer, "%d URLs: give one; a name may resolve to several addresses", len(parts))
	}
	if own != "" && c.AdvertisePeer != "" && c.AdvertisePeer != own && c.InitialClusterState != ClusterExisting {
		r.failf(keyAdvertisePeer, "%s differs from this node's URL in --%s, %s: make them equal", urlOf(c.AdvertisePeer), keyInitialCluster, urlOf(own))
	}
}

// advertiseClient decides what clients are told to dial: one address. etcd takes one that nobody can dial too, and many a script gives it one.
func (r *reader) advertiseClient(c *Config) {
	parts := splitList(r.text(keyAdvertiseClient))
	if len(parts) == 0 {
		c.AdvertiseClient = firstDialable(c.ListenClient)
		return
	}
	for _, part := range parts {
		l, err := reachable(part)
		switch {
		case errors.Is(err, errNoHost), errors.Is(err, errNoPort):
			c.Warnings = append(c.Warnings, fmt.Sprintf("--%s: %v: it is not told to clients", keyAdvertiseClient, err))
		case err != nil:
			r.failf(keyAdvertiseClient, "%v", err)
		case c.AdvertiseClient == "":
			c.AdvertiseClient = l.told()
		default:
			c.Warnings = append(c.Warnings, fmt.Sprintf("--%s: %q is not told to clients: they are told one address; a name may resolve to several", keyAdvertiseClient, part))
		}
	}
}

// firstDialable is the first address that others can dial, "" if there is none.
func firstDialable(listen []Listen) string {
	for _, l := range listen {
		if l, err := reachable(l.String()); err == nil {
			return l.told()
		}
	}
	return ""
}

func (r *reader) timing(c *Config) {
	heartbeat, election := r.integer(keyHeartbeatInterval), r.integer(keyElectionTimeout)
	c.HeartbeatInterval = time.Duration(heartbeat) * time.Millisecond
	c.ElectionTimeout = time.Duration(election) * time.Millisecond
	if heartbeat < minHeartbeatMillis {
		r.failf(keyHeartbeatInterval, "%d ms, the least is %d ms", heartbeat, minHeartbeatMillis)
	}
	if election/minElectionHeartbeats < heartbeat { // the product might overflow
		r.failf(keyElectionTimeout, "%d ms must be at least %d times the heartbeat interval of %d ms, or a late heartbeat costs the leader its place", election, minElectionHeartbeats, heartbeat)
	}
	if election > maxElectionMillis {
		r.failf(keyElectionTimeout, "%d ms, the most is %d ms", election, maxElectionMillis)
	}
	c.SnapshotBytesPerSecond = r.integer(keySnapshotRate)
	if rate := c.SnapshotBytesPerSecond; rate != 0 && rate < transport.MinSnapshotBytesPerSecond {
		r.failf(keySnapshotRate, "%d bytes a second, the least is %d, or 0 for no bound", rate, transport.MinSnapshotBytesPerSecond)
	}
	c.LeaseReads, _ = r.flags.GetBool(keyLeaseReads)
	c.ClockDriftPercent = r.integer(keyClockDrift)
	if c.ClockDriftPercent < 1 || c.ClockDriftPercent > raft.MaxClockDriftPercent {
		r.failf(keyClockDrift, "%d percent, it must be from 1 to %d", c.ClockDriftPercent, raft.MaxClockDriftPercent)
	}
	c.SnapshotCount, _ = r.flags.GetUint64(keySnapshotCount)
	c.SnapshotCount = max(c.SnapshotCount, minSnapshotCount)
}

func (r *reader) limits(c *Config) {
	c.QuotaBackendBytes, _ = r.flags.GetInt64(keyQuotaBackendBytes)
	if c.QuotaBackendBytes != 0 && (c.QuotaBackendBytes < minQuotaBytes || c.QuotaBackendBytes > maxQuotaBytes) { // zero is the default to etcd, too
		r.failf(keyQuotaBackendBytes, "%d bytes, it must be from %d to %d, or 0 for the default", c.QuotaBackendBytes, minQuotaBytes, int64(maxQuotaBytes))
	}
	c.MaxKeyBytes, c.MaxValueBytes = r.integer(keyMaxKeyBytes), r.integer(keyMaxValueBytes)
	if c.MaxKeyBytes < 1 || c.MaxKeyBytes > hardMaxKeyBytes {
		r.failf(keyMaxKeyBytes, "%d bytes, it must be from 1 to %d", c.MaxKeyBytes, hardMaxKeyBytes)
	}
	if c.MaxValueBytes < 1 || c.MaxValueBytes > hardMaxValueBytes {
		r.failf(keyMaxValueBytes, "%d bytes, it must be from 1 to %d", c.MaxValueBytes, hardMaxValueBytes)
	}
	r.request(c)
	r.history(c)
	if c.WatchProgressInterval, _ = r.flags.GetDuration(keyWatchProgress); c.WatchProgressInterval < minWatchProgress {
		r.failf(keyWatchProgress, "%v, the least is %v", c.WatchProgressInterval, minWatchProgress)
	}
	gateway, _ := r.flags.GetBool(keyGateway)
	c.NoGateway = !gateway
}

// request decides the limits of a whole request.
func (r *reader) request(c *Config) {
	if c.MaxTxnOps = r.integer(keyMaxTxnOps); c.MaxTxnOps < 1 || c.MaxTxnOps > hardMaxTxnOps {
		r.failf(keyMaxTxnOps, "%d operations, it must be from 1 to %d", c.MaxTxnOps, hardMaxTxnOps)
	}
	if c.MaxStreams, _ = r.flags.GetUint32(keyMaxStreams); c.MaxStreams == 0 {
		r.failf(keyMaxStreams, "0 calls: a client could not call at all")
	}
	if c.MaxLearners = r.integer(keyMaxLearners); c.MaxLearners < 0 {
		r.failf(keyMaxLearners, "%d learners, the least is 0", c.MaxLearners)
	}
	least := c.MaxKeyBytes + c.MaxValueBytes + requestSlackBytes
	if c.MaxRequestBytes = r.integer(keyMaxRequestBytes); c.MaxRequestBytes == 0 {
		c.MaxRequestBytes = max(DefaultMaxRequestBytes, least)
	}
	if c.MaxRequestBytes < 1 || c.MaxRequestBytes > hardMaxRequestBytes {
		r.failf(keyMaxRequestBytes, "%d bytes, it must be from 1 to %d", c.MaxRequestBytes, hardMaxRequestBytes)
	}
	if r.flags.Changed(keyMaxRequestBytes) && r.flags.Changed(keyMaxValueBytes) && c.MaxRequestBytes < c.MaxValueBytes {
		r.failf(keyMaxRequestBytes, "%d bytes, too few for a value of --%s=%d", c.MaxRequestBytes, keyMaxValueBytes, c.MaxValueBytes)
	}
}

// history decides how much of it is kept, as etcd has it: in mode periodic, which is the default, a number is hours, in mode
// revision it is revisions, and 0 keeps all. Only where neither flag is given is there something of our own: a store that is never
// compacted fills up.
func (r *reader) history(c *Config) {
	mode, text := r.text(keyCompactionMode), r.text(keyCompactionRetention)
	if mode == "" && text == "" {
		c.AutoCompactionRetention = DefaultAutoCompactionRetention
		return
	}
	if text == "" {
		text = "0"
	}
	number, notNumber := strconv.ParseUint(text, 10, 64)
	age, notTime := time.ParseDuration(text)
	switch {
	case mode == compactionByRevision && notNumber == nil:
		c.AutoCompactionRetention = number
	case mode == compactionByRevision:
		r.failf(keyCompactionRetention, "%q is no number of revisions", text)
	case mode != "" && mode != compactionByAge:
		r.failf(keyCompactionMode, "%q: write %s or %s", mode, compactionByRevision, compactionByAge)
	case notNumber == nil && number <= uint64(maxCompactionAge/time.Hour):
		c.AutoCompactionAge = time.Duration(number) * time.Hour
	case notNumber == nil:
		r.failf(keyCompactionRetention, "%s hours are more than %v: for a number of revisions give --%s=%s too", text, maxCompactionAge, keyCompactionMode, compactionByRevision)
	case notTime == nil && age >= 0 && age <= maxCompactionAge:
		c.AutoCompactionAge = age
	default:
		r.failf(keyCompactionRetention, "%q is neither a number of hours nor a time such as 1h or 30m, up to %v", text, maxCompactionAge)
	}
}

func (r *reader) logging(c *Config) {
	level := r.text(keyLogLevel)
	switch strings.ToLower(level) {
	case "dpanic", "panic", "fatal": // etcd's, above its errors
		c.LogLevel = slog.LevelError
	case "debug", "info", "warn", "error":
		if err := c.LogLevel.UnmarshalText([]byte(level)); err != nil {
			r.failf(keyLogLevel, "%q: %v", level, err)
		}
	default:
		r.failf(keyLogLevel, "%q: write debug, info, warn or error", level)
	}
	switch f := LogFormat(r.text(keyLogFormat)); f {
	case LogText, LogJSON:
		c.LogFormat = f
	default:
		r.failf(keyLogFormat, "%q: write text or json", f)
	}
}

// reachable refuses a node that could never become useful.
func (r *reader) reachable(c *Config) {
	alone := len(c.InitialCluster) == 1
	if len(c.ListenPeer) == 0 && !alone && r.text(keyListenPeer) == "" {
		r.failf(keyListenPeer, "peers and the operator must reach this node: give --%s http://HOST:2380 (only a cluster of one, --%s %s=URL, can do without)",
			keyListenPeer, keyInitialCluster, orName(c.Name))
	}
	if len(c.ListenPeer) == 0 && alone && len(c.ListenClient) == 0 && r.text(keyListenClient) == "" {
		r.failf(keyListenClient, "this node would listen nowhere: give --%s http://127.0.0.1:2379", keyListenClient)
	}
}

// apart refuses an address that two kinds of listeners are to have: the second of them would only find that somebody is there.
func (r *reader) apart(c *Config) {
	taken := map[string]string{}
	for _, x := range []struct {
		key    string
		listen []Listen
	}{{keyListenClient, c.ListenClient}, {keyListenPeer, c.ListenPeer}, {keyListenMetrics, c.ListenMetrics}} {
		for _, l := range x.listen {
			if other := taken[l.Address]; other != "" && other != x.key {
				r.failf(x.key, "%s is in --%s too: give each an address of its own", l, other)
			}
			if !strings.HasSuffix(l.Address, ":0") {
				taken[l.Address] = x.key
			}
		}
	}
}

func orName(name string) string {
	if name == "" {
		return "NAME"
	}
	return name
}
