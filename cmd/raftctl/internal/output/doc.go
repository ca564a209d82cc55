// Package output writes what raftctl found: as a table for people, or as JSON for programs. Both say the same. It promises that keys and values
// survive: in JSON they are text where they are valid UTF-8 and base64 beside it where not, in tables whatever could be misread is quoted.
// Numbers that may pass 2^53 are strings in JSON, as on every other interface of raftkv.
package output
