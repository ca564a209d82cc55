package kv

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
)

func TestASnapshotTellsWhatItHolds(t *testing.T) {
	for latest, version := range fuzzVersions {
		meta, stream := snapshotOf(t, version)
		found, err := InspectSnapshot(bytes.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		if (found.Format == snapshotFormat) != latest || found.Meta.Index != meta.Index || found.Meta.Term != meta.Term || found.Bytes != int64(len(stream)) || found.Checked {
			t.Errorf("version %d: %+v", version, found)
		}
		// Two keys were put and one of them deleted, each by a write of its own.
		if found.Revision != 4 || found.Versions != 3 || found.Leases != 0 || found.Records <= found.Versions {
			t.Errorf("version %d: %+v", version, found)
		}

		// The file that etcd's clients make of it.
		file := append(bytes.Clone(stream), make([]byte, snapshotFileAlign-len(stream)%snapshotFileAlign)...)
		sum := sha256.Sum256(file)
		file = append(file, sum[:]...)
		if found, err = InspectSnapshot(bytes.NewReader(file)); err != nil || !found.Checked || found.Bytes != int64(len(file)) {
			t.Errorf("with a checksum of the file: %+v, %v", found, err)
		}
		file[len(file)-1]++
		if _, err = InspectSnapshot(bytes.NewReader(file)); err == nil {
			t.Error("a wrong checksum of the file was accepted")
		}
	}
}

func TestADamagedSnapshotIsNoticedWhereverTheDamageIs(t *testing.T) {
	for _, version := range fuzzVersions {
		_, stream := snapshotOf(t, version)
		for at := range stream {
			damaged := bytes.Clone(stream)
			damaged[at] ^= 0x10
			for _, b := range [][]byte{damaged, stream[:at]} {
				var refused *SnapshotError
				var corrupt *CorruptError
				if _, err := InspectSnapshot(bytes.NewReader(b)); !errors.As(err, &refused) && !errors.As(err, &corrupt) {
					t.Fatalf("version %d, byte %d of %d: %v", version, at, len(stream), err)
				}
			}
		}
		if _, err := InspectSnapshot(bytes.NewReader(append(bytes.Clone(stream), 0))); err == nil {
			t.Error("bytes behind the end were accepted")
		}
	}
}
