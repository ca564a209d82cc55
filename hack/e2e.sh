#!/usr/bin/env bash
# One end-to-end pass on a Kubernetes of its own: makes it, installs the operator from its chart, runs the tests of
# test/e2e, and takes everything down again, also after a failure or an interrupt. What a failed pass looked like is kept in
# build/e2e/. RUN chooses tests, KEEP=1 keeps the Kubernetes. With `operations` it plays the long scenarios of TestOperations, which
# take some 25 minutes, on five nodes, and writes their figures to build/e2e-report.md.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${VERSION:?run this through make}
suite=${1:-pass}
case $suite in
  pass) nodes=3 ;;
  operations) nodes=5 RUN=${RUN:-TestOperations} ;;
  *) sed -n '2,6s|^# *||p' "$0" >&2 && exit 2 ;;
esac
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

# The images between which the long scenarios roll: the same source under another version, and an older build. That is this source with a
# feature level that is lower by one: such a build neither reads nor writes what the newest level brought.
other_images() {
  local older=build/e2e-older line='const FeatureLevel = kv.CompareVersion'
  build/tools/images build --version "$version-next" --out build/images/next
  rm -rf "$older" && mkdir -p "$older"
  tar --create --exclude=./build --exclude=./.git . | tar --extract --directory "$older"
  grep -qx "$line" "$older/server/member/member.go" || { echo "server/member does not say: $line" >&2 && return 1; }
  sed -i "s/^$line\$/$line - 1/" "$older/server/member/member.go"
  build/tools/images build --source "$older" --version "$version-older" --out build/images/older
  rm -rf "$older"
  build/localkube load build/images/next/node.tar
  build/localkube load build/images/older/node.tar
}

cluster=
finish() {
  local code=$?
  trap - EXIT
  trap '' INT TERM # a second interrupt must not leave a Kubernetes behind
  # Without a cluster localkube has said why.
  ((code == 0)) || [[ -z $cluster ]] || diagnose
  if [[ -n ${KEEP:-} ]]; then
    echo "kept: eval \"\$(RAFTKV_LOCALKUBE_NAME=$RAFTKV_LOCALKUBE_NAME build/localkube env)\""
  else
    build/localkube down || code=1
  fi
  exit "$code"
}

section "building localkube, kubectl raftkv and the images"
make --no-print-directory localkube raftctl images
export PATH=$PWD/build:$PATH # where kubectl finds its plugin raftkv
section "a Kubernetes of $nodes nodes"
trap finish EXIT
trap 'exit 130' INT TERM
build/localkube prepare
build/localkube up --nodes "$nodes"
eval "$(build/localkube env)"
cluster=up
build/localkube load build/images/node.tar
build/localkube load build/images/operator.tar
[[ $suite == pass ]] || other_images

section "the operator, from its chart"
helm upgrade raftkv charts/raftkv --install --namespace "$namespace" --create-namespace --wait --timeout 3m >/dev/null
kubectl label namespace "$namespace" default pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
helm test raftkv --namespace "$namespace" --timeout 5m

section "the tests"
flags=(-count=1 -timeout 25m)
if [[ $suite == operations ]]; then
  export E2E_REPORT=$PWD/build/e2e-report.md
  printf '%s\n' '| what was done | acknowledged | of them at the second try | refused | unknown | longest pause | as specified after |' \
    '|---|---|---|---|---|---|---|' >"$E2E_REPORT"
  flags=(-count=1 -timeout 2h -args -e2e.all)
fi
E2E_LOCALKUBE=$PWD/build/localkube go test -tags e2e ./test/e2e -v ${RUN:+-run "$RUN"} "${flags[@]}"
[[ $suite == pass ]] || section "the figures are in build/e2e-report.md"
section "passed raftkv $version"
