#!/usr/bin/env bash
# Fails when a generated file is not what the generators write, or go.mod not what the code uses. What the generators
# write stays in the tree, ready to be committed.
set -euo pipefail
cd "$(dirname "$0")/.."

generated=(api config/crd config/rbac charts/raftkv/files docs/reference/raftctl.md server/etcd/v3lockpb server/etcd/v3electionpb)
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT

cp -a --parents -t "$before" "${generated[@]}"
hack/generate.sh
hack/chart.sh
drifted=0
for path in "${generated[@]}"; do
  diff -ruN "$before/$path" "$path" || drifted=1
done
if ((drifted)); then
  echo "Generated files had drifted (- as they were, + as generated). They are right now: commit them." >&2
  exit 1
fi
echo "generated files are up to date"
if ! go mod tidy -diff; then
  echo "go.mod does not say what the code uses: run go mod tidy and commit go.mod and go.sum." >&2
  exit 1
fi
