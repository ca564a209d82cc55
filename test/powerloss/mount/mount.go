package mount

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/raftkv/raftkv/test/powerloss/disk"
)

const (
	device = "/dev/fuse"
	// deviceMajor and deviceMinor are what the device's file is made of where it is missing.
	deviceMajor, deviceMinor = 10, 229
	// writeBytes is the longest write that the kernel passes on in one piece.
	writeBytes = 1 << 20
	// cacheTime is how long the kernel may believe what it knows of names and sizes: nobody else changes them.
	cacheTime = time.Hour
	// freeBlocks is the room that is reported.
	blockBytes, freeBlocks = 4096, 1 << 24
)

// Mount shows the disk at a directory until the function that it returns is called.
func Mount(d *disk.Disk, dir string) (unmount func() error, err error) {
	if err := prepare(); err != nil {
		return nil, err
	}
	server, err := fuse.NewServer(&fileSystem{RawFileSystem: fuse.NewDefaultRawFileSystem(), disk: d}, dir, &fuse.MountOptions{
		FsName: "raftkv-powerloss", Name: "powerloss", DirectMountStrict: true, MaxWrite: writeBytes,
		DisableXAttrs: true, DisableReadDirPlus: true,
	})
	if err != nil {
		return nil, fmt.Errorf("mount a FUSE file system at %s: %w; this needs root, or a kernel that lets users mount in a namespace of their own", dir, err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the file system at %s: %w", dir, err), server.Unmount())
	}
	return server.Unmount, nil
}

// prepare makes the device's file where the kernel has the file system and nobody has made the file, as in a container.
func prepare() error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err == nil {
		return f.Close()
	}
	if errors.Is(err, os.ErrNotExist) {
		if err = syscall.Mknod(device, syscall.S_IFCHR|0o666, deviceMajor<<8|deviceMinor); err == nil {
			return prepareAgain()
		}
	}
	return fmt.Errorf("the test of power losses needs FUSE: %w; load the kernel's module (modprobe fuse) and let this user open %s", err, device)
}

func prepareAgain() error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("the test of power losses needs FUSE, which this kernel does not have: %w; load its module (modprobe fuse)", err)
	}
	return f.Close()
}
