#!/bin/sh
# The REST interface with nothing but curl: values, conditions, transactions, leases, watches.
. "$(dirname "$0")/expect.sh"

scratch=$(mktemp -d)
watching=
trap 'test -z "$watching" || kill $watching 2>/dev/null || true; rm -rf "$scratch"' EXIT

# A watch of all that follows, as curl shows it.
curl -sSN --max-time 120 "$NODE/v1/watch/$NAME/?prefix" >"$scratch/watch" &
watching=$!
eventually "$scratch/watch" 'event: created'

expect '{"revision":"*","modRevision":"*"} 200' "$(call PUT "/v1/kv/$NAME/a" one)"
expect 'one 200' "$(call GET "/v1/kv/$NAME/a")"
expect '*"code":"precondition_failed"* 412' "$(call PUT "/v1/kv/$NAME/a" two -H 'If-None-Match: *')"
expect '*"prev":{*"value":"'"$(in64 one)"'"* 200' "$(call PUT "/v1/kv/$NAME/a?prev" two -H 'If-Match: *')"
eventually "$scratch/watch" '"value":"'"$(in64 two)"'"'

# A transaction: if a is two, b is written and all keys are read.
a=$(in64 "$NAME/a") b=$(in64 "$NAME/b") all=$(in64 "$NAME/")
expect '*"succeeded":true,"results":\[{"put":{}},{"get":{"items":\[{*},{*}\],"more":false,"count":"2"}}\]} 200' "$(call POST /v1/txn '{
	"compare": [{"key": "'"$a"'", "target": "value", "relation": "=", "value": "'"$(in64 two)"'"}],
	"then": [{"put": {"key": "'"$b"'", "value": "'"$(in64 three)"'"}}, {"get": {"key": "'"$all"'", "prefix": true}}]
}')"
eventually "$scratch/watch" '"key":"'"$b"'","value":"'"$(in64 three)"'"'
expect '*"code":"invalid_request"* 400' "$(call POST /v1/txn '{"then": [{"put": ')"

# A lease takes its key with it.
lease=$(call POST /v1/leases '{"ttl": 600}' | sed 's/.*"id":"\([0-9]*\)".*/\1/')
expect '*"modRevision"* 200' "$(call PUT "/v1/kv/$NAME/c?lease=$lease" four)"
expect '*"ttl":"600"} 200' "$(call POST "/v1/leases/$lease/keepalive")"
expect '*"remaining":"*","keys":\["'"$(in64 "$NAME/c")"'"\]} 200' "$(call GET "/v1/leases/$lease?keys")"
expect '*"id":"'"$lease"'"* 200' "$(call GET /v1/leases)"
expect '*"id":"'"$lease"'"} 200' "$(call DELETE "/v1/leases/$lease")"
expect '*"code":"key_not_found"* 404' "$(call GET "/v1/kv/$NAME/c")"
expect '*"code":"lease_not_found"* 404' "$(call POST "/v1/leases/$lease/keepalive")"
eventually "$scratch/watch" '"type":"delete","key":"'"$(in64 "$NAME/c")"'"'

# The watch breaks, something is written, and it resumes behind the last that it knows.
kill "$watching"
wait "$watching" || true
last=$(sed -n 's/^id: //p' "$scratch/watch" | tail -n 1)
expect '*"modRevision"* 200' "$(call PUT "/v1/kv/$NAME/d" missed)"
curl -sSN --max-time 120 -H "Last-Event-ID: $last" "$NODE/v1/watch/$NAME/?prefix" >"$scratch/resumed" &
watching=$!
eventually "$scratch/resumed" '"value":"'"$(in64 missed)"'"'
expect "$((last))" "$(sed -n 's/^id: //p' "$scratch/resumed" | head -n 1)"
expect 1 "$(grep -c '^event: change' "$scratch/resumed")"

# Pages of a listing, and what is no request.
page=$(call GET "/v1/kv/$NAME/?prefix&limit=2&keysOnly")
expect '*"more":true,"continue":"*"} 200' "$page"
word=$(printf %s "$page" | sed 's/.*"continue":"\([^"]*\)".*/\1/')
expect '*"items":\[{*}\],"more":false} 200' "$(call GET "/v1/kv/$NAME/?prefix&limit=2&keysOnly&continue=$word")"
expect '*"code":"not_found"* 404' "$(call GET /v1/other)"
expect '*"code":"method_not_allowed"* 405' "$(call POST "/v1/kv/$NAME/a" x)"
expect '{*"openapi": "3.1.0"* 200' "$(call GET /openapi.json)"
echo done
