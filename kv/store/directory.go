package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	fileName      = "kv.db"
	stagedSuffix  = ".staged"
	stagingSuffix = ".staged.tmp"
	fileMode      = 0o600

	// lockTimeout bounds the wait for another process to let go of the file.
	lockTimeout = time.Second
	// growBytes is the step by which the file grows; each step costs an extra sync.
	growBytes = 64 << 20
	// appendFillPercent fills pages of buckets that mostly grow at their end.
	appendFillPercent = 0.95
	// firstBuckets are in every file.
	firstBuckets = Bucket(4)
	// DefaultQuotaBytes is the size that a store is meant to stay below.
	DefaultQuotaBytes = 8 << 30
	// mapFactor is how many times the quota is mapped, or the file if that is larger, and mapBytes what is mapped besides. A commit may move all that the file
	// holds. It is address space, not memory.
	mapFactor, mapBytes = 2, 4 << 30
	// metaPages are the first pages of a file; a commit is in force once one of them is written.
	metaPages = 2
)

// setAside is what to do about a file that cannot be used, and makeRoom about a disk that is full.
const (
	setAside = "If the disk is well otherwise, keep a copy of this member's directory, remove the member from the cluster and let it " +
		"join anew with an empty one"
	makeRoom = "Nothing that was acknowledged is lost: make room, then start again"
)

// DirectoryOptions are the settings of a Directory.
type DirectoryOptions struct {
	// MustExist refuses a directory without a kv.db.
	MustExist bool
	// QuotaBytes is the size that the store is meant to stay below; DefaultQuotaBytes if zero. Address space for twice of it and more
	// is mapped at the start: growing a map waits for all views to close.
	QuotaBytes int64
	// AppendBuckets are the buckets whose keys are mostly added at their end.
	AppendBuckets []Bucket

	// mapBytes replaces what is mapped in tests.
	mapBytes int64
}

// Directory keeps stores as bbolt files in a directory: kv.db is in force, NAME.staged is finished and
// NAME.staged.tmp is not.
type Directory struct {
	dir     string
	options DirectoryOptions
}

// NewDirectory makes the directory if it is not there.
func NewDirectory(dir string, o DirectoryOptions) (*Directory, error) {
	if _, err := os.Stat(filepath.Join(dir, fileName)); o.MustExist && err != nil {
		return nil, fmt.Errorf("the state of this member is gone: %w. Nothing was changed. What the member had acknowledged may be gone with it, "+
			"so it must not go on with this directory: remove it from the cluster and let it join anew with an empty directory", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	if o.QuotaBytes == 0 {
		o.QuotaBytes = DefaultQuotaBytes
	}
	return &Directory{dir: dir, options: o}, nil
}

// Path returns the name of the file in force.
func (d *Directory) Path() string { return filepath.Join(d.dir, fileName) }

// Open opens kv.db and removes every NAME.staged.tmp. Whatever is found is durable when it returns.
func (d *Directory) Open() (Store, error) {
	unfinished, err := d.list(stagingSuffix)
	if err != nil {
		return nil, err
	}
	for _, name := range unfinished {
		if err := os.Remove(filepath.Join(d.dir, name+stagingSuffix)); err != nil {
			return nil, fmt.Errorf("remove an unfinished snapshot: %w", err)
		}
	}
	mapped := d.mapped()
	db, err := d.open(d.Path(), mapped, false)
	if err != nil {
		return nil, err
	}
	if err := d.settle(db.Info().PageSize); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return d.serve(db, mapped)
}

// settle makes durable what Open has found, and the file's name. So far it may be in the cache of the file system only, since the process before this one was
// killed before its last sync, or stopped because that failed. After a sync that failed the kernel takes the pages for stored, and another one
// does nothing: so the meta pages are written once more, the same bytes to the same place. The pages that they lead to were synced before them.
func (d *Directory) settle(pageBytes int) (err error) {
	f, err := os.OpenFile(d.Path(), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("make what was found durable: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pages := make([]byte, metaPages*pageBytes)
	if _, err = f.ReadAt(pages, 0); err == nil {
		_, err = f.WriteAt(pages, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if noRoom(err) {
		return noRoomError(d.Path(), err)
	}
	if err != nil {
		return fmt.Errorf("make what was found durable: %w", err)
	}
	return d.sync()
}

// serve makes the store of an open file.
func (d *Directory) serve(db *bbolt.DB, mapped int64) (Store, error) {
	s := &boltStore{db: db, appends: d.options.AppendBuckets, mappedBytes: mapped}
	if err := s.stand(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// mapped is what is to be mapped of kv.db as it is, or of what is to take its place.
func (d *Directory) mapped() int64 {
	if d.options.mapBytes != 0 {
		return d.options.mapBytes
	}
	largest := d.options.QuotaBytes
	if file, err := os.Stat(d.Path()); err == nil {
		largest = max(largest, file.Size())
	}
	return mapFactor*largest + mapBytes
}

// open opens a file and refuses, in words, one whose pages cannot be what bbolt wrote.
func (d *Directory) open(path string, mapped int64, staging bool) (db *bbolt.DB, err error) {
	o := *bbolt.DefaultOptions
	o.Timeout = lockTimeout
	// The list of free pages is written with each commit. Ours are few and large, so that they cost the same with it, and
	// opening a store of a million keys takes 2 ms with it and 600 ms without (BenchmarkOpen in kv, BenchmarkCommit here).
	o.NoFreelistSync = false
	// Pages are taken from the lowest place, so that what is free stays together further up and there is a run for that list. bbolt's other way takes
	// them from anywhere: nearly every commit then wrote its list behind the end of the file, which grew without end (TestTheFileStopsGrowing).
	o.FreelistType = bbolt.FreelistArrayType
	o.NoSync, o.NoGrowSync = staging, staging
	o.InitialMmapSize = int(mapped)
	var file *os.File
	o.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		var err error
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	}
	// bbolt checks only its two meta pages. Any other page that is torn, or missing at the end of a file that was cut short, makes
	// it panic or the kernel refuse the access.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		damage := recover()
		if damage == nil {
			return
		}
		err = fmt.Errorf("open %s: the file is damaged: %v. It was not changed. %s", path, damage, setAside)
		// The mapping stays and holds the file open, so that closing alone would keep the lock; db.Close would wait for what the
		// panic has left locked in memory.
		err, db = errors.Join(err, syscall.Flock(int(file.Fd()), syscall.LOCK_UN), file.Close()), nil
	}()
	db, err = bbolt.Open(path, fileMode, &o)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: another process holds it: stop that one first", path)
	case noRoom(err):
		return nil, noRoomError(path, err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w. %s", path, err, setAside)
	}
	db.AllocSize = growBytes
	if err := makeBuckets(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// makeBuckets makes those that every file has; the others are made by the first commit that writes to them, since an older
// build does not know them. A file that has them all is not written to: whoever opens it may find that it
// must not be used, and then nothing may have changed.
func makeBuckets(db *bbolt.DB) error {
	missing := false
	err := db.View(func(tx *bbolt.Tx) error {
		for b := range firstBuckets {
			missing = missing || tx.Bucket(bucketName(b)) == nil
		}
		return nil
	})
	if err != nil || !missing {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for b := range firstBuckets {
			if _, err := tx.CreateBucketIfNotExists(bucketName(b)); err != nil {
				return err
			}
		}
		return nil
	})
	if noRoom(err) {
		return noRoomError(db.Path(), err)
	}
	if err != nil {
		return fmt.Errorf("make the buckets of %s: %w", db.Path(), err)
	}
	return nil
}

func bucketName(b Bucket) []byte { return []byte{'0' + byte(b)} }

// Stage begins NAME.staged.tmp.
func (d *Directory) Stage(name string) (Staging, error) {
	path := filepath.Join(d.dir, name+stagingSuffix)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove an unfinished snapshot: %w", err)
	}
	db, err := d.open(path, d.mapped(), true)
	if err != nil {
		return nil, err
	}
	// Whatever is staged comes in the order of its keys.
	appends := make([]Bucket, Buckets)
	for b := range appends {
		appends[b] = Bucket(b)
	}
	return &boltStaging{boltStore: boltStore{db: db, appends: appends}, dir: d, name: name}, nil
}

// Staged lists the files NAME.staged.
func (d *Directory) Staged() ([]string, error) { return d.list(stagedSuffix) }

func (d *Directory) list(suffix string) ([]string, error) {
	files, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, fmt.Errorf("list the store's directory: %w", err)
	}
	var out []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), suffix); ok {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out, nil
}

// Adopt renames NAME.staged to kv.db. A crash leaves either the old file in force and the staged one in
// place, or the new one in force.
func (d *Directory) Adopt(name string) (Store, error) {
	err := os.Rename(filepath.Join(d.dir, name+stagedSuffix), d.Path())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotStaged, name)
	}
	if err != nil {
		return nil, fmt.Errorf("put a snapshot in force: %w", err)
	}
	if err := d.sync(); err != nil {
		return nil, err
	}
	// The lock of an older store that is still open belongs to the older file.
	mapped := d.mapped()
	db, err := d.open(d.Path(), mapped, false)
	if err != nil {
		return nil, err
	}
	return d.serve(db, mapped)
}

// Discard removes NAME.staged.
func (d *Directory) Discard(name string) error {
	err := os.Remove(filepath.Join(d.dir, name+stagedSuffix))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a staged snapshot: %w", err)
	}
	return nil
}

// sync makes the names in the directory durable.
func (d *Directory) sync() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("sync the store's directory: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync the store's directory: %w", err)
	}
	return nil
}
