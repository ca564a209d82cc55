// Package txn reads transactions that people and programs write: a small syntax of lines, or JSON. Both give the same Document, which makes the
// conditions and operations of the Go client. Parse promises that whatever it accepts means one thing, and says line and word of what it does not.
package txn
