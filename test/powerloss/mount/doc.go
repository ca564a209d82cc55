// Package mount lets processes use a disk.Disk as a file system of the kernel, through FUSE. What they write reaches
// the disk at once, in the order and the pieces in which the kernel passes it on; the kernel's cache holds nothing back,
// and serves maps of files. Locks are the kernel's own.
package mount
