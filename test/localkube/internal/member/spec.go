package member

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Spec is everything that an init process must know; it is a JSON file in the cluster's folder.
type Spec struct {
	Name string `json:"name"` // the member's name, and its host name
	// Work is the cluster's folder. It stays in sight at the same path, whatever is mounted over its parents.
	Work string `json:"work"`
	// LogDir gets one file for each program, and init.log.
	LogDir string `json:"logDir"`
	// StatusFile says how far the start has come, as a Status.
	StatusFile string `json:"statusFile"`
	// Cgroups are folders that the init process joins, one for each hierarchy of the machine.
	Cgroups []string `json:"cgroups"`
	// PrivateFolders are laid over folders of the machine (target: source), so that programs which insist on fixed
	// paths (/var/lib/containerd, /var/log/containers) write them into the cluster's folder.
	PrivateFolders map[string]string `json:"privateFolders,omitempty"`
	// PrivateRun gives the member an empty /run.
	PrivateRun bool `json:"privateRun,omitempty"`
	// ShownSysctls are settings, by path under /proc/sys, that the member shall see with these values although the
	// machine's own stay as they are.
	ShownSysctls map[string]string `json:"shownSysctls,omitempty"`
	// Sysctls are settings of the member's own network namespace to write, by path under /proc/sys.
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// ForwardTo is where connections to the listener that the member inherited go, from inside its namespace.
	ForwardTo string    `json:"forwardTo,omitempty"`
	Programs  []Program `json:"programs"`
}

// Program is one process of a member. They start one after the other, each when the one before is ready.
type Program struct {
	Name string   `json:"name"`
	Path string   `json:"path"`
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"`
	// Once marks a program that does its work and ends; the next one starts when it has succeeded.
	Once bool `json:"once,omitempty"`
	// Stdin is a file to read from; none means no input.
	Stdin string `json:"stdin,omitempty"`
	// Needs must answer before the program is started, and Ready before the next one is.
	Needs Probe `json:"needs,omitzero"`
	Ready Probe `json:"ready,omitzero"`
}

// Probe asks whether a server is up: by its UNIX socket or by a URL that must answer 200. The zero value always succeeds.
type Probe struct {
	Socket string `json:"socket,omitempty"`
	URL    string `json:"url,omitempty"`
	CAFile string `json:"caFile,omitempty"`
}

// Status is how far a member's start has come.
type Status struct {
	// Running says that every program was started and is ready.
	Running bool `json:"running"`
	// Program is the one being started or waited for.
	Program string `json:"program,omitempty"`
	// Failures counts how often programs of this member ended that should not have.
	Failures int `json:"failures"`
	// LastFailure names the last of them and says how it ended.
	LastFailure   string    `json:"lastFailure,omitempty"`
	FailedProgram string    `json:"failedProgram,omitempty"`
	Since         time.Time `json:"since"`
}

// WriteSpec stores s at path.
func WriteSpec(path string, s Spec) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// ReadSpec reads what WriteSpec stored.
func ReadSpec(path string) (Spec, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Spec{}, err
	}
	var s Spec
	if err := json.Unmarshal(text, &s); err != nil {
		return Spec{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// ReadStatus reads a member's status file; a member that has not written one yet has the zero Status.
func ReadStatus(path string) Status {
	var s Status
	text, err := os.ReadFile(path)
	if err != nil {
		return Status{}
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return Status{}
	}
	return s
}

func writeStatus(path string, s Status) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	// Readers poll the file, so they must never see half of it.
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
