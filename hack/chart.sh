#!/usr/bin/env bash
# Copies what controller-gen wrote under config/ into the chart, which reads the copies as files: config/ stays the only
# source of the CRDs and of the operator's rights.
set -euo pipefail
cd "$(dirname "$0")/.."

files=charts/raftkv/files
rm -rf "$files/crds" "$files/rbac"
mkdir -p "$files/crds" "$files/rbac"
cp config/crd/raftkv.io_*.yaml "$files/crds/"
cp config/rbac/role.yaml "$files/rbac/role.yaml"
