package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// fuzzVersions are cluster versions under which snapshots have the first format and the latest.
var fuzzVersions = map[bool]uint32{false: 1, true: chainedVersion}

// snapshotOf streams the state of a machine with all sorts of records.
func snapshotOf(t testing.TB, version uint32) (raft.SnapshotMeta, []byte) {
	t.Helper()
	o, _ := memory()
	h := newHarness(t, o)
	h.entry(raft.EntryClusterVersion, binary.BigEndian.AppendUint32(nil, version))
	h.do(Put([]byte("a\x00"), []byte("1")))
	h.do(Put([]byte("b"), nil))
	h.do(Delete([]byte("b")))
	h.do(OpenSession(1, 1))
	s, err := h.machine.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return s.Meta(), b.Bytes()
}

// receiveFuzz writes a stream in two parts and, if all of it is accepted, puts it in force.
func receiveFuzz(t *testing.T, meta raft.SnapshotMeta, stream []byte, cut int) (*Machine, error) {
	t.Helper()
	o, _ := memory()
	m := open(t, o)
	stage, err := m.Stage(meta)
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Abort()
	for _, part := range [][]byte{stream[:cut], stream[cut:]} {
		if _, err := stage.Write(part); err != nil {
			return nil, err
		}
	}
	if err := stage.Commit(); err != nil {
		return nil, err
	}
	return m, m.Install(meta)
}

// FuzzSnapshotStream changes a stream in one place: nothing of it may be taken for good but what was sent.
func FuzzSnapshotStream(f *testing.F) {
	meta, first := snapshotOf(f, fuzzVersions[false])
	_, latest := snapshotOf(f, fuzzVersions[true])
	streams := map[bool][]byte{false: first, true: latest}
	for isLatest := range streams {
		f.Add([]byte{}, uint16(0), uint16(9), isLatest)
		f.Add([]byte("junk"), uint16(12), uint16(3), isLatest)
		f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint16(snapshotPreambleBytes), uint16(100), isLatest)
		f.Add([]byte{0, 0, 0, 2}, uint16(len(snapshotMagic)), uint16(100), isLatest)
	}
	f.Fuzz(func(t *testing.T, junk []byte, at, cut uint16, isLatest bool) {
		stream := streams[isLatest]
		changed := bytes.Clone(stream)
		n := int(at) % (len(changed) + 1)
		changed = append(append(changed[:n:n], junk...), changed[min(len(changed), n+len(junk)):]...)
		_, err := receiveFuzz(t, meta, changed, int(cut)%(len(changed)+1))
		if same := bytes.Equal(changed, stream); same != (err == nil) {
			t.Fatalf("the stream is as it was sent: %v; receiving it: %v", same, err)
		}
	})
}

// FuzzSnapshotChunks gives chunks any content with checksums that are right, as a faulty sender would: the receiver refuses
// them or can go on with them, reading included.
func FuzzSnapshotChunks(f *testing.F) {
	meta, stream := snapshotOf(f, chainedVersion)
	first := stream[snapshotPreambleBytes:]
	header := first[chunkHeaderBytes:][:binary.BigEndian.Uint32(first)]
	second := first[chunkHeaderBytes+len(header):]
	records := second[chunkHeaderBytes:][:binary.BigEndian.Uint32(second)]
	f.Add(header, records, uint8(5))
	f.Add(header, []byte{chunkRecords, 1, 1, 'k', 1, 'v'}, uint8(1))
	f.Add([]byte{chunkHeader}, []byte{chunkEnd}, uint8(0))
	f.Fuzz(func(t *testing.T, header, records []byte, count uint8) {
		built := bytes.Clone(stream[:snapshotPreambleBytes])
		sum := crc32.Checksum(built, castagnoli)
		for _, body := range [][]byte{header, records} {
			at := len(built)
			built = appendFuzzChunk(built, body)
			sum = crc32.Update(sum, castagnoli, built[at:at+chunkHeaderBytes])
		}
		end := binary.BigEndian.AppendUint64([]byte{chunkEnd}, uint64(count))
		end = binary.BigEndian.AppendUint32(end, sum)
		m, err := receiveFuzz(t, meta, appendFuzzChunk(built, end), len(built)/2)
		if err != nil {
			return
		}
		if got := m.Applied(); got.Index != meta.Index || got.Term != meta.Term {
			t.Fatalf("applied %d of term %d, the snapshot is of %d of term %d", got.Index, got.Term, meta.Index, meta.Term)
		}
		// What is read may be found corrupt; it may not crash.
		_, err = m.Range(context.Background(), RangeRequest{Keys: All()})
		var corrupt *CorruptError
		if err != nil && !errors.As(err, &corrupt) {
			t.Fatal(err)
		}
	})
}

func appendFuzzChunk(b, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

// FuzzStoredRecords decodes records of any content under a checksum that is right, and under one that is wrong.
func FuzzStoredRecords(f *testing.F) {
	v := &version{mod: 5, sub: 1, create: 3, count: 2, lease: 7, value: []byte("value")}
	strip := func(b []byte) []byte { return b[:len(b)-checksumBytes] }
	index := appendIndexKey(nil, []byte("a\x00b"), 5)
	f.Add(index, strip(appendIndex(nil, index, v)))
	record := appendRecordKey(nil, 5, 1)
	f.Add(record, strip(appendRecord(nil, record, []byte("a\x00b"), v)))
	f.Add(metaScrub, strip(scrub{done: 1, mod: 2, sub: 3}.encode()))
	state, err := (&logical{revision: 9}).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(metaState, strip(state))
	f.Fuzz(func(t *testing.T, where, body []byte) {
		whole := seal(where, body)
		damaged := bytes.Clone(whole)
		damaged[len(damaged)-1]++
		if escaped, v, err := decodeIndex(where, whole); err == nil {
			if again := appendIndexKey(nil, unescape(escaped), v.mod); bytes.Equal(again, where) {
				if _, back, err := decodeIndex(again, appendIndex(nil, again, &v)); err != nil || !reflect.DeepEqual(v, back) {
					t.Fatalf("%+v became %+v, %v", v, back, err)
				}
			}
		}
		if key, v, err := decodeRecord(where, whole); err == nil {
			gotKey, back, err := decodeRecord(where, appendRecord(nil, where, key, &v))
			if err != nil || !bytes.Equal(key, gotKey) || v.mod != back.mod || v.sub != back.sub || !bytes.Equal(v.value, back.value) {
				t.Fatalf("%q %+v became %q %+v, %v", key, v, gotKey, back, err)
			}
		}
		if _, _, err := decodeIndex(where, damaged); err == nil {
			t.Fatal("an index record with a wrong checksum was accepted")
		}
		if _, _, err := decodeRecord(where, damaged); err == nil {
			t.Fatal("a record with a wrong checksum was accepted")
		}
		if l, err := decodeLogical(seal(metaState, body)); err == nil {
			again, err := l.encode()
			if err != nil {
				t.Fatal(err)
			}
			if back, err := decodeLogical(again); err != nil || back.revision != l.revision || back.compacted != l.compacted {
				t.Fatalf("%+v became %+v, %v", l, back, err)
			}
		}
		if s, err := decodeScrub(seal(metaScrub, body)); err == nil {
			if back, err := decodeScrub(s.encode()); err != nil || back != s {
				t.Fatalf("%+v became %+v, %v", s, back, err)
			}
		}
		_, _ = decodeHeaderChunk(body)
		_, _ = decodeResult(body)
	})
}
