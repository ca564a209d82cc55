#!/usr/bin/env bash
# One end-to-end pass on a Kubernetes of its own: makes it, installs the operator from its chart, runs the tests of
# test/e2e, and takes everything down again, also after a failure or an interrupt. What a failed pass looked like is kept in
# build/e2e/. RUN chooses tests, KEEP=1 keeps the Kubernetes.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${VERSION:?run this through make}
namespace=raftkv-system
export RAFTKV_LOCALKUBE_NAME=e2e

section() { printf '\n=== %s (at %d s)\n' "$*" "$SECONDS"; }

if [[ $(uname -s) != Linux ]] || ((EUID != 0)); then
  echo "The end-to-end tests run a Kubernetes on this machine, which needs root on Linux." >&2
  echo "Without that: make test-unit test-sim" >&2
  exit 1
fi

diagnose() {
  local folder=build/e2e
  rm -rf "$folder" && mkdir -p "$folder"
  {
    kubectl get nodes,raftclusters,statefulsets,pods,pvc,services,endpointslices --all-namespaces -o wide
    kubectl get raftclusters --all-namespaces -o yaml
    kubectl get events --all-namespaces --sort-by=.lastTimestamp
    kubectl describe pods
  } >"$folder/cluster.txt" 2>&1 || true
  kubectl -n "$namespace" logs deployment/raftkv-operator --tail=-1 >"$folder/operator.log" 2>&1 || true
  local pod
  for pod in $(kubectl get pods -l app.kubernetes.io/component=node -o name 2>/dev/null); do
    kubectl logs "$pod" --tail=-1 >"$folder/${pod#pod/}.log" 2>&1 || true
    kubectl logs "$pod" --tail=-1 --previous >"$folder/${pod#pod/}.previous.log" 2>/dev/null || true
  done
  echo "What the cluster looked like is in $folder/. Its RaftClusters, and the end of the operator's log:"
  kubectl get raftclusters,pods --all-namespaces -o wide || true
  tail -n 30 "$folder/operator.log" || true
}

cluster=
finish() {
  local code=$?
  trap - EXIT
  # Without a cluster localkube has said why.
  ((code == 0)) || [[ -z $cluster ]] || diagnose
  if [[ -n ${KEEP:-} ]]; then
    echo "kept: eval \"\$(RAFTKV_LOCALKUBE_NAME=$RAFTKV_LOCALKUBE_NAME build/localkube env)\""
  else
    build/localkube down || code=1
  fi
  exit "$code"
}

section "building localkube and the images"
make --no-print-directory localkube images
section "a Kubernetes of 3 nodes"
trap finish EXIT
trap 'exit 130' INT TERM
build/localkube prepare
build/localkube up --nodes 3
eval "$(build/localkube env)"
cluster=up
build/localkube load build/images/node.tar
build/localkube load build/images/operator.tar

section "the operator, from its chart"
helm upgrade raftkv charts/raftkv --install --namespace "$namespace" --create-namespace --wait --timeout 3m >/dev/null
kubectl label namespace "$namespace" default pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
helm test raftkv --namespace "$namespace" --timeout 5m

section "the tests"
E2E_LOCALKUBE=$PWD/build/localkube go test -tags e2e ./test/e2e -count=1 -timeout 25m -v ${RUN:+-run "$RUN"}
section "passed raftkv $version"
