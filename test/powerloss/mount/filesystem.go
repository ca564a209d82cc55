package mount

import (
	"os"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/raftkv/raftkv/test/powerloss/disk"
)

// fileSystem answers the kernel's requests. Its node numbers are the disk's inodes.
type fileSystem struct {
	fuse.RawFileSystem
	disk *disk.Disk

	mu sync.Mutex
	// listings are what open directories held when they were opened.
	listings map[uint64][]disk.Entry
	last     uint64
}

func (f *fileSystem) String() string { return "powerloss" }

func attributes(i disk.Info, owner fuse.Owner) fuse.Attr {
	a := fuse.Attr{
		Ino: uint64(i.Inode), Size: uint64(i.Bytes), Blocks: uint64(i.Bytes+511) / 512,
		Mode: syscall.S_IFREG | 0o600, Nlink: 1, Blksize: blockBytes, Owner: owner,
	}
	if i.Dir {
		a.Mode, a.Nlink = syscall.S_IFDIR|0o700, 2
	}
	return a
}

func self() fuse.Owner { return fuse.Owner{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())} }

func fill(out *fuse.EntryOut, i disk.Info) {
	out.NodeId, out.Attr = uint64(i.Inode), attributes(i, self())
	out.SetEntryTimeout(cacheTime)
	out.SetAttrTimeout(cacheTime)
}

// Lookup implements fuse.RawFileSystem, like all that follow.
func (f *fileSystem) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	i, err := f.disk.Lookup(disk.Inode(h.NodeId), name)
	if err == nil {
		fill(out, i)
	}
	return fuse.ToStatus(err)
}

func (f *fileSystem) stat(node uint64, out *fuse.AttrOut) fuse.Status {
	i, err := f.disk.Stat(disk.Inode(node))
	if err == nil {
		out.Attr = attributes(i, self())
		out.SetTimeout(cacheTime)
	}
	return fuse.ToStatus(err)
}

func (f *fileSystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.stat(in.NodeId, out)
}

// SetAttr changes sizes; modes, owners and times are not kept.
func (f *fileSystem) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if in.Valid&fuse.FATTR_SIZE != 0 {
		if err := f.disk.Resize(disk.Inode(in.NodeId), int64(in.Size)); err != nil {
			return fuse.ToStatus(err)
		}
	}
	return f.stat(in.NodeId, out)
}

func (f *fileSystem) make(dir uint64, name string, directory bool, out *fuse.EntryOut) fuse.Status {
	i, err := f.disk.Make(disk.Inode(dir), name, directory)
	if err == nil {
		fill(out, i)
	}
	return fuse.ToStatus(err)
}

func (f *fileSystem) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.make(in.NodeId, name, true, out)
}

func (f *fileSystem) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return f.make(in.NodeId, name, false, &out.EntryOut)
}

func (f *fileSystem) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return fuse.ToStatus(f.disk.Remove(disk.Inode(h.NodeId), name, false))
}

func (f *fileSystem) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return fuse.ToStatus(f.disk.Remove(disk.Inode(h.NodeId), name, true))
}

func (f *fileSystem) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if in.Flags != 0 {
		return fuse.Status(syscall.EINVAL) // no exchange, and no refusal of a name that is taken
	}
	return fuse.ToStatus(f.disk.Rename(disk.Inode(in.NodeId), from, disk.Inode(in.Newdir), to))
}

func (f *fileSystem) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	if in.Flags&syscall.O_TRUNC != 0 {
		return fuse.ToStatus(f.disk.Resize(disk.Inode(in.NodeId), 0))
	}
	_, err := f.disk.Stat(disk.Inode(in.NodeId))
	return fuse.ToStatus(err)
}

func (f *fileSystem) Read(_ <-chan struct{}, in *fuse.ReadIn, buffer []byte) (fuse.ReadResult, fuse.Status) {
	n, err := f.disk.Read(disk.Inode(in.NodeId), buffer[:min(len(buffer), int(in.Size))], int64(in.Offset))
	if err != nil {
		return nil, fuse.ToStatus(err)
	}
	return fuse.ReadResultData(buffer[:n]), fuse.OK
}

func (f *fileSystem) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if err := f.disk.Write(disk.Inode(in.NodeId), data, int64(in.Offset)); err != nil {
		return 0, fuse.ToStatus(err)
	}
	return uint32(len(data)), fuse.OK
}

// Fallocate lengthens a file. Blocks that are reserved and not written look like those that are not reserved.
func (f *fileSystem) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if in.Mode != 0 {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	i, err := f.disk.Stat(disk.Inode(in.NodeId))
	if end := int64(in.Offset + in.Length); err == nil && end > i.Bytes {
		err = f.disk.Resize(i.Inode, end)
	}
	return fuse.ToStatus(err)
}

func (f *fileSystem) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fuse.ToStatus(f.disk.Sync(disk.Inode(in.NodeId)))
}

func (f *fileSystem) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fuse.ToStatus(f.disk.Sync(disk.Inode(in.NodeId)))
}

func (f *fileSystem) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	entries, err := f.disk.List(disk.Inode(in.NodeId))
	if err != nil {
		return fuse.ToStatus(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listings == nil {
		f.listings = map[uint64][]disk.Entry{}
	}
	f.last++
	out.Fh = f.last
	f.listings[f.last] = entries
	return fuse.OK
}

func (f *fileSystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.mu.Lock()
	entries := f.listings[in.Fh]
	f.mu.Unlock()
	for n := in.Offset; n < uint64(len(entries)); n++ {
		e := entries[n]
		if !out.AddDirEntry(fuse.DirEntry{Name: e.Name, Ino: uint64(e.Inode), Mode: attributes(e.Info, fuse.Owner{}).Mode, Off: n + 1}) {
			break
		}
	}
	return fuse.OK
}

func (f *fileSystem) ReleaseDir(in *fuse.ReleaseIn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.listings, in.Fh)
}

func (f *fileSystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize, out.NameLen = blockBytes, blockBytes, 255
	out.Blocks, out.Bfree, out.Bavail = freeBlocks, freeBlocks, freeBlocks
	return fuse.OK
}

// Flush has nothing to do: a close makes nothing durable.
func (f *fileSystem) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }
