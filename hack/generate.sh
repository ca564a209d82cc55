#!/bin/sh
# Writes every generated file: deepcopy functions, the CRD and the RBAC role of the operator, the reference of raftctl, and the code of
# etcd's services for locks and elections. CI runs it and fails when that changes anything.
set -eu
cd "$(dirname "$0")/.."

version=v0.23.0
if [ -n "${CONTROLLER_GEN:-}" ]; then
	gen() { "$CONTROLLER_GEN" "$@"; }
else
	gen() { go run "sigs.k8s.io/controller-tools/cmd/controller-gen@$version" "$@"; }
fi

gen object:headerFile=hack/generated.go.txt paths=./api/... \
	crd:headerFile=hack/generated.yaml.txt output:crd:artifacts:config=config/crd
gen rbac:roleName=raftkv-operator,headerFile=hack/generated.yaml.txt paths=./controllers/... \
	output:rbac:artifacts:config=config/rbac
go run ./cmd/raftctl/internal/reference >docs/reference/raftctl.md
go -C server/etcd/generate run .
