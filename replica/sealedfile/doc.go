// Package sealedfile keeps small documents in files that are replaced as a whole: a head line with magic, format version,
// length and CRC32C, then the document.
//
// A reader sees the old document or the new one, also after a power loss, and never half of one. A file that is damaged or
// of another format is refused with an error that names the file and the offset; it is not changed.
package sealedfile
