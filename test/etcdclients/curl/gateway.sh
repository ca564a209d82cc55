#!/bin/sh
# etcd's JSON gateway with nothing but curl: keys, a transaction, a lease, a watch, a lock.
. "$(dirname "$0")/expect.sh"

scratch=$(mktemp -d)
watching=
trap 'test -z "$watching" || kill $watching 2>/dev/null || true; rm -rf "$scratch"' EXIT
key=$(in64 "$NAME")

curl -sSN --max-time 120 -X POST -d '{"create_request": {"key": "'"$key"'"}}' "$NODE/v3/watch" >"$scratch/watch" &
watching=$!
eventually "$scratch/watch" '"created":true'

expect '{"header":{*"revision":"*"*}} 200' "$(call POST /v3/kv/put '{"key": "'"$key"'", "value": "'"$(in64 one)"'"}')"
eventually "$scratch/watch" '"value":"'"$(in64 one)"'"'
expect '*"count":"1"* 200' "$(call POST /v3/kv/range '{"key": "'"$key"'"}')"
expect '*"succeeded":true* 200' "$(call POST /v3/kv/txn '{
	"compare": [{"key": "'"$key"'", "target": "VERSION", "result": "EQUAL", "version": "1"}],
	"success": [{"request_put": {"key": "'"$key"'", "value": "'"$(in64 two)"'"}}]
}')"
lease=$(call POST /v3/lease/grant '{"TTL": 600}' | sed 's/.*"ID":"\([0-9]*\)".*/\1/')
expect '*"TTL":"600"* 200' "$(call POST /v3/lease/keepalive '{"ID": "'"$lease"'"}')"
lock=$(call POST /v3/lock/lock '{"name": "'"$key"'", "lease": "'"$lease"'"}')
expect '*"key":"*"} 200' "$lock"
expect '*"header"* 200' "$(call POST /v3/lock/unlock '{"key": "'"$(printf %s "$lock" | sed 's/.*"key":"\([^"]*\)".*/\1/')"'"}')"
expect '*"header"* 200' "$(call POST /v3/lease/revoke '{"ID": "'"$lease"'"}')"
expect '*"code":5*"message":"etcdserver: requested lease not found"* 404' "$(call POST /v3/lease/revoke '{"ID": "'"$lease"'"}')"
expect '*"deleted":"1"* 200' "$(call POST /v3/kv/deleterange '{"key": "'"$key"'"}')"
eventually "$scratch/watch" '"type":"DELETE"'
expect '*"health":"true"* 200' "$(call GET /health)"
echo done
