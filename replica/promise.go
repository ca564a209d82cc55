package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/raftkv/raftkv/replica/sealedfile"
)

// promiseName is the file in a member's directory that says with which election timeout it may have promised not to elect another
// leader (raft.Config.LeaseReads).
const promiseName = "promise"

// promiseFactor is how many times the promised time passes before the file is removed; it need not be soon.
const promiseFactor = 4

var promiseKind = sealedfile.Kind{Magic: "raftkv-promise", Format: 1}

type promiseDocument struct {
	// ElectionTimeout is the longest that lease reads were on with, as a Go duration.
	ElectionTimeout string `json:"electionTimeout"`
}

// readPromise returns the longest election timeout that the member may have made promises with; zero if it never did.
func readPromise(dir string) (time.Duration, error) {
	path := filepath.Join(dir, promiseName)
	data, err := promiseKind.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var d promiseDocument
	if err := json.Unmarshal(data, &d); err != nil {
		return 0, fmt.Errorf("file %s: %w", path, err)
	}
	longest, err := time.ParseDuration(d.ElectionTimeout)
	if err != nil || longest <= 0 {
		return 0, fmt.Errorf("file %s: the election timeout %q is none", path, d.ElectionTimeout)
	}
	return longest, nil
}

// notePromise is called before a member starts, and returns for how long it has to be quiet then. What it may promise from now on is on
// stable storage when it returns, since a promise outlives the process.
func notePromise(dir string, leaseReads bool, electionTimeout time.Duration) (quiet time.Duration, err error) {
	quiet, err = readPromise(dir)
	if err != nil || !leaseReads || electionTimeout <= quiet {
		return quiet, err
	}
	document, err := json.Marshal(promiseDocument{electionTimeout.String()})
	if err != nil {
		return 0, err
	}
	return quiet, promiseKind.Write(filepath.Join(dir, promiseName), document)
}

// forgetPromise is called when a member without lease reads has been quiet for long enough: it owes nobody anything.
func forgetPromise(dir string) error {
	if err := os.Remove(filepath.Join(dir, promiseName)); err != nil {
		return err
	}
	return sealedfile.SyncDir(dir)
}
