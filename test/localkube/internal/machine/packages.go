package machine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// requirement is a system program that a cluster runs, and the Debian package it comes in.
type requirement struct {
	program string
	debian  string
}

var requirements = []requirement{
	{"containerd", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"nft", "nftables"},
	{"ip", "iproute2"},
	{"nsenter", "util-linux"},
}

// cniPlugins are the network plugins that nodes use, and cniFolders where distributions put them.
var (
	cniPlugins = []string{"ptp", "host-local", "loopback"}
	cniFolders = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}
)

const (
	cniPackage = "containernetworking-plugins"
	policyFile = "/usr/sbin/policy-rc.d"
)

// MissingPackages lists the Debian packages whose programs are not on the machine.
func MissingPackages() []string {
	var missing []string
	for _, r := range requirements {
		if _, err := exec.LookPath(r.program); err != nil && !slices.Contains(missing, r.debian) {
			missing = append(missing, r.debian)
		}
	}
	if _, err := CNIFolder(); err != nil {
		missing = append(missing, cniPackage)
	}
	return missing
}

// CNIFolder is where the network plugins are.
func CNIFolder() (string, error) {
	for _, folder := range cniFolders {
		there := 0
		for _, plugin := range cniPlugins {
			if _, err := os.Stat(filepath.Join(folder, plugin)); err == nil {
				there++
			}
		}
		if there == len(cniPlugins) {
			return folder, nil
		}
	}
	return "", fmt.Errorf("the network plugins %s are in none of %s; install %s",
		strings.Join(cniPlugins, ", "), strings.Join(cniFolders, ", "), cniPackage)
}

// Install gets the packages with apt-get and starts none of the services in them.
func Install(packages []string, out io.Writer) error {
	if len(packages) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this machine has no apt-get; install what it calls %s by its own means, then try again",
			strings.Join(packages, ", "))
	}
	done, err := forbidServices()
	if err != nil {
		return err
	}
	err = apt(packages, out)
	if err := errors.Join(err, done()); err != nil {
		return err
	}
	if slices.Contains(packages, "containerd") {
		// It would start at the next boot otherwise; the cluster runs its own.
		if systemctl, err := exec.LookPath("systemctl"); err == nil {
			if text, err := exec.Command(systemctl, "disable", "containerd.service").CombinedOutput(); err != nil {
				_, _ = fmt.Fprintf(out, "containerd.service stays enabled for the next boot: %s", text)
			}
		}
	}
	if still := MissingPackages(); len(still) > 0 {
		return fmt.Errorf("apt-get succeeded, yet the programs of %s are not in PATH (%s)", strings.Join(still, ", "), os.Getenv("PATH"))
	}
	return nil
}

func apt(packages []string, out io.Writer) error {
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages...),
	} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		text, err := cmd.CombinedOutput()
		if err != nil {
			_, _ = out.Write(text)
			return fmt.Errorf("apt-get %s: %w; its output is above", strings.Join(args, " "), err)
		}
	}
	return nil
}

// forbidServices tells Debian's package scripts to start nothing, unless the machine has a rule for that already. The
// function that it returns takes the rule away again.
func forbidServices() (func() error, error) {
	file, err := os.OpenFile(policyFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = file.WriteString("#!/bin/sh\nexit 101\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(policyFile))
	}
	return func() error { return os.Remove(policyFile) }, nil
}
