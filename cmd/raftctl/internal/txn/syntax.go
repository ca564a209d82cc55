package txn

// Syntax explains the syntax of lines, for help texts.
const Syntax = `A transaction is written in lines. A line that begins with # is a comment.

  if                               all of these must hold for "then" to run; otherwise "else" does
    version lock = 0               value, version, create, mod or lease of a key, and =, !=, < or >
    value "config/mode" = "on"     words with spaces are quoted as in Go: "tab\there", "\xff\x00"
    mod prefix jobs/ < 42          of a range: every key that exists in it; prefix P, from K, span K END, all
    lease lock = 5f                leases are hexadecimal
    missing other                  shorthand for: create other = 0
    exists lock                    shorthand for: create lock > 0
  then
    put lock "host 7" lease 5f     options: lease ID, ignore-value, ignore-lease, prev
    get prefix jobs/ limit 10      options: limit N, revision N, keys-only, count-only, count
    del other prev                 options: prev
    txn                            a transaction within: its own if, then, else, up to
      then
        put deeper yes
    end
  else
    get lock

A word that could be taken for one of the language's (a key named "prefix") is quoted.

The same in JSON, where bytes that are no text are in base64 (keyBase64, endBase64, valueBase64):

  {"if": [{"key": "lock", "target": "version", "relation": "=", "number": "0"}],
   "then": [{"put": {"key": "lock", "value": "host 7", "lease": "5f"}}, {"get": {"key": "jobs/", "range": "prefix"}}],
   "else": [{"get": {"key": "lock"}}, {"del": {"key": "other"}}, {"txn": {"then": []}}]}`

// Bounds of what is read.
const (
	MaxBytes = 16 << 20
	// MaxDepth bounds transactions within transactions.
	MaxDepth = 16
)
