#!/usr/bin/env bash
# Runs one kind of test over every module: unit, race.
set -euo pipefail
cd "$(dirname "$0")/.."

modules=(. hack/images test/localkube)

section() { printf '\n=== %s\n' "$*"; }

case "${1:-}" in
  unit)
    for module in "${modules[@]}"; do
      section "unit tests of module $module"
      go test -C "$module" -timeout 10m ./...
    done
    ;;
  race)
    for module in "${modules[@]}"; do
      section "unit tests of module $module under the race detector"
      CGO_ENABLED=1 go test -C "$module" -race -timeout 15m ./...
    done
    ;;
  *)
    echo "usage: hack/test.sh unit|race" >&2
    exit 2
    ;;
esac
