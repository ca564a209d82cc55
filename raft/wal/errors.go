package wal

import (
	"errors"
	"fmt"
)

// ErrClosed is what a Log answers after Close.
var ErrClosed = errors.New("the write-ahead log is closed")

// CorruptError says that the log was damaged: something is wrong that no loss of power explains. Nothing was
// changed on the disk.
type CorruptError struct {
	// File is the damaged file, or the directory when a file is missing.
	File string
	// Offset is the first byte in doubt.
	Offset int64
	// Reason says what was expected and what was found.
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("write-ahead log is damaged: %s at offset %d: %s. Nothing was changed. "+
		"What this member had acknowledged may be gone, so it must not go on with this directory: "+
		"keep a copy of it, check the disk, remove this member from the cluster and let it join anew with an empty directory",
		e.File, e.Offset, e.Reason)
}

// VersionError says that another version of the program wrote the log. Nothing was changed on the disk.
type VersionError struct {
	File             string
	Found, Supported uint32
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("write-ahead log %s has format %d, this build reads format %d. Nothing was changed. "+
		"Start a build that reads format %d", e.File, e.Found, e.Supported, e.Found)
}

// IdentityError says that the log belongs to another member. Nothing was changed on the disk.
type IdentityError struct {
	File        string
	Found, Want Identity
}

func (e *IdentityError) Error() string {
	return fmt.Sprintf("write-ahead log %s belongs to %s; this is %s. Nothing was changed. "+
		"Give this member its own data directory, or set this one aside", e.File, e.Found, e.Want)
}

// FullError says that the disk is full. The Log is of no use any more, but what it had acknowledged is safe: it
// can be opened again when there is room.
type FullError struct {
	Dir string
	// Needed and Free are in bytes. Free is -1 when it could not be found out.
	Needed, Free int64
	Err          error
}

func (e *FullError) Error() string {
	return fmt.Sprintf("no room for the write-ahead log in %s: %d bytes needed, %d free: %v. "+
		"Nothing that was acknowledged is lost: make room, then start again", e.Dir, e.Needed, e.Free, e.Err)
}

func (e *FullError) Unwrap() error { return e.Err }
