package sim

// hash is FNV-1a over 64-bit words.
type hash uint64

func newHash() hash { return 0xcbf29ce484222325 }

func (h *hash) mix(words ...uint64) {
	x := uint64(*h)
	for _, w := range words {
		x = (x ^ w) * 0x100000001b3
		x ^= x >> 32
	}
	*h = hash(x)
}

func (h *hash) mixBytes(b []byte) {
	x := uint64(*h)
	for _, c := range b {
		x = (x ^ uint64(c)) * 0x100000001b3
	}
	*h = hash(x)
}
