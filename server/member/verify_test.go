package member

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

// TestDamageThatNobodyReadsStopsTheMember flips a bit of a value under a running member, which only writes other keys.
func TestDamageThatNobodyReadsStopsTheMember(t *testing.T) {
	p := assemble(t, "a")[0]
	p.stop()
	p.verify = 50 * time.Millisecond
	p.start()
	const needle = "a value that nobody reads"
	p.put("k", needle)
	if err := p.member.Load().machine.FlushNow(); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	err := filepath.WalkDir(p.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "kv.db" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		for at := 0; ; at += len(needle) {
			next := bytes.Index(content[at:], []byte(needle))
			if next < 0 {
				return f.Close()
			}
			at += next
			if _, err := f.WriteAt([]byte{needle[0] ^ 1}, int64(at)); err != nil {
				return err
			}
			damaged++
		}
	})
	if err != nil || damaged == 0 {
		t.Fatalf("%d places, %v", damaged, err)
	}
	p.until("the member has ended", func() error {
		select {
		case <-p.replica.Done():
			return nil
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := p.member.Load().Store().Put(ctx, backend.PutRequest{Key: []byte("other"), Value: []byte("v")})
		return errors.Join(errors.New("it goes on"), err)
	})
	var corrupt *kv.CorruptError
	if err := p.replica.Stop(context.Background()); !errors.As(err, &corrupt) || corrupt.What != "record" || corrupt.Revision != kv.FirstRevision+1 {
		t.Errorf("it ended for another reason: %v", err)
	}
	<-p.waiting
	p.member.Swap(nil).Stop()
	p.replica = nil
}
