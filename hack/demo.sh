#!/usr/bin/env bash
# The demo: a Kubernetes, the operator, a store on it, a key written and read. `up` may be repeated; it continues from
# what it finds. `down` removes it. Without DEMO_KUBECONFIG it runs a Kubernetes of three nodes on this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${VERSION:?run this through make}
own_cluster=${DEMO_KUBECONFIG:-}
registry=${REGISTRY:-}
registry=${registry%/}
namespace=raftkv-system
release=raftkv
crd=raftclusters.raftkv.io
# What the demo makes has this label, and `down` removes nothing without it: others may use the same names.
mark=raftkv.io/made-by=demo
# The claims of a RaftCluster's members, but for its name.
claims_of=app.kubernetes.io/name=raftkv,app.kubernetes.io/instance
steps=7
step=0

step() {
  step=$((step + 1))
  printf '\n[%d/%d] %s\n' "$step" "$steps" "$*"
}

fail() {
  printf '\nThe demo stops here: %s\n' "$*" >&2
  exit 1
}

alternatives() {
  cat <<'TEXT'

What works without a Kubernetes on this machine:
  make demo KUBECONFIG=... REGISTRY=...   the demo on a cluster of your own (after `make push REGISTRY=...`)
  kind, k3d or minikube                   where a container engine runs: make one, then the line above, or load
                                          build/images/*.tar into it instead of pushing
  three terminals                         a static cluster of three processes; see README.md
TEXT
}

need_go() {
  command -v go >/dev/null && return
  fail "Go is missing. Install Go $(sed -n 's/^go //p' go.mod) or newer and put it in PATH."
}

# --- on this machine -------------------------------------------------------------------------------------------------

local_up() {
  if [[ $(uname -s) != Linux ]]; then
    alternatives
    fail "this machine runs $(uname -s), and a Kubernetes on it needs Linux."
  fi
  if ((EUID != 0)); then
    alternatives
    fail "a Kubernetes on this machine needs root. Run: sudo env PATH=\"\$PATH\" make demo"
  fi
  need_go
  step "What this will change"
  make --no-print-directory localkube
  build/localkube preflight || { alternatives; fail "this machine cannot host a Kubernetes; see above."; }
  echo
  echo "The demo itself writes to build/ in this folder. \`make demo-down\` undoes the rest."
  if ! command -v curl >/dev/null; then
    echo "curl is missing and will be installed."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends curl
  fi

  step "Building the images"
  make --no-print-directory images

  step "Starting a Kubernetes of 3 nodes (the first time it is compiled, which takes minutes)"
  build/localkube up --nodes 3
  eval "$(build/localkube env)"

  step "Loading the images into the nodes"
  build/localkube load build/images/node.tar
  build/localkube load build/images/operator.tar

  install_operator --set "podAnnotations.raftkv\.io/image=$(sha256sum build/images/operator.tar | cut -c1-16)"
  make_store "$(sha256sum build/images/node.tar | cut -c1-16)"
  write_and_read
  next_commands 'eval "$(build/localkube env)"' 'make demo-down'
}

local_down() {
  if [[ $(uname -s) != Linux ]] || ((EUID != 0)); then
    fail "the demo's Kubernetes belongs to root on Linux. Run: sudo env PATH=\"\$PATH\" make demo-down"
  fi
  need_go
  make --no-print-directory localkube
  build/localkube down
}

# --- on a cluster of one's own ---------------------------------------------------------------------------------------

# The programs that localkube builds stand in for missing ones.
client_programs() {
  if command -v kubectl >/dev/null && command -v helm >/dev/null; then
    return
  fi
  need_go
  echo "kubectl or helm is missing here; building them (minutes, once)"
  make --no-print-directory localkube
  PATH="$(build/localkube build):$PATH"
}

store_namespace() {
  local of_context
  of_context=$(kubectl config view --minify -o jsonpath='{..namespace}')
  echo "${of_context:-default}"
}

# release_origin tells whose helm release there is under the demo's name: none, demo or other.
release_origin() {
  local values
  if values=$(helm get values "$release" --namespace "$namespace" --output json 2>&1); then
    if [[ $values == *"${mark%=*}"* ]]; then echo demo; else echo other; fi
  elif [[ $values == *"release: not found"* ]]; then
    echo none
  else
    echo "$values" >&2
    return 1
  fi
}

# only_ours refuses to begin where something of the demo's names is somebody else's, which it would change or take over.
only_ours() {
  local origin of_store found
  of_store=$(store_namespace)
  origin=$(release_origin) || fail "helm cannot tell whether there is a release $release; see above."
  [[ $origin != other ]] ||
    fail "namespace $namespace has a release $release that the demo did not make. The demo would change its values."
  found=$(kubectl get crd "$crd" --ignore-not-found -o name) || fail "the cluster cannot tell whether it has the CRD $crd."
  if [[ -n $found ]]; then
    found=$(kubectl -n "$of_store" get "$crd" -l "$mark" --field-selector metadata.name=demo -o name) ||
      fail "the cluster cannot list its RaftClusters."
    [[ -z $found ]] || return 0
    found=$(kubectl -n "$of_store" get "$crd" demo --ignore-not-found -o name) || fail "the cluster cannot list its RaftClusters."
    [[ -z $found ]] ||
      fail "namespace $of_store has a RaftCluster demo that this demo did not make. Choose another namespace for the demo:
  kubectl --kubeconfig $own_cluster config set-context --current --namespace=..."
  fi
  found=$(kubectl -n "$of_store" get pvc -l "$claims_of=demo" -o name) || fail "the cluster cannot list its claims."
  [[ -z $found ]] || fail "namespace $of_store has volumes of an earlier RaftCluster demo, whose data the demo would take over:
$found
Delete them if nobody needs the data, or choose another namespace for the demo:
  kubectl --kubeconfig $own_cluster config set-context --current --namespace=..."
}

own_up() {
  export KUBECONFIG=$own_cluster
  steps=6
  command -v curl >/dev/null || fail "curl is missing; install it."
  [[ -r $KUBECONFIG ]] || fail "there is no kubeconfig $KUBECONFIG."
  step "What this will change"
  client_programs
  local context
  context=$(kubectl config current-context) || fail "$own_cluster has no current context."
  cat <<TEXT
On the cluster of context $context:
  namespace $namespace with the raftkv operator (helm release $release), its ServiceAccount, Role and ClusterRole
  the CustomResourceDefinition raftclusters.raftkv.io
  in namespace $(store_namespace): the RaftCluster demo with three pods, three volumes, Services and a PodDisruptionBudget
What is the demo's to remove gets the label $mark. It changes nothing on this machine.
\`make demo-down KUBECONFIG=$own_cluster\` undoes it.
TEXT

  step "Asking the cluster"
  kubectl version || fail "the cluster does not answer."
  [[ $(kubectl get storageclass -o jsonpath='{range .items[*]}{.metadata.annotations.storageclass\.kubernetes\.io/is-default-class}{end}') == *true* ]] ||
    fail "the cluster has no default StorageClass, so the store would get no volumes."
  only_ours

  step "Checking that the cluster can pull the images"
  local found
  found=$(kubectl get namespace "$namespace" --ignore-not-found -o name) || fail "the cluster cannot tell whether it has a namespace $namespace."
  [[ -n $found ]] ||
    kubectl create -f - <<<"{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"$namespace\",\"labels\":{\"${mark%=*}\":\"${mark#*=}\"}}}"
  crd_before=$(kubectl get crd "$crd" --ignore-not-found -o name) || fail "the cluster cannot tell whether it has the CRD $crd."
  local image
  for image in node operator; do
    pull_check "$image" "${registry:-docker.io}/raftkv/$image:$version"
  done

  install_operator --set "image.registry=${registry:-docker.io}" --set-string "podLabels.${mark//./\\.}"
  make_store "$version"
  write_and_read
  next_commands "export KUBECONFIG=$own_cluster" "make demo-down KUBECONFIG=$own_cluster"
}

# pull_check NAME IMAGE starts a pod that only shows the program's version, to see whether its image arrives.
pull_check() {
  local pod=raftkv-pull-check-$1 image=$2 state deadline=$((SECONDS + 180))
  kubectl -n "$namespace" delete pod "$pod" --ignore-not-found --wait >/dev/null
  kubectl -n "$namespace" run "$pod" --image="$image" --restart=Never --command -- "/raftkv-$1" --version >/dev/null
  while :; do
    state=$(kubectl -n "$namespace" get pod "$pod" \
      -o jsonpath='{.status.phase} {.status.containerStatuses[0].state.waiting.reason} {.status.containerStatuses[0].imageID}')
    case $state in
      *ErrImagePull* | *ImagePullBackOff* | *InvalidImageName*) break ;;
      Succeeded* | Running* | Failed* | *sha256:*)
        kubectl -n "$namespace" delete pod "$pod" --wait=false >/dev/null
        echo "  $image: yes"
        return
        ;;
    esac
    ((SECONDS < deadline)) || break
    sleep 1
  done
  kubectl -n "$namespace" get events --field-selector "involvedObject.name=$pod" -o custom-columns=MESSAGE:.message --no-headers | tail -n 3
  kubectl -n "$namespace" delete pod "$pod" --wait=false >/dev/null
  fail "the cluster cannot pull $image.
  Push the images to a registry that it can reach: make push REGISTRY=ghcr.io/me
  and name it:                                     make demo KUBECONFIG=$own_cluster REGISTRY=ghcr.io/me
  On kind: make images && kind load image-archive build/images/node.tar && kind load image-archive build/images/operator.tar"
}

# listed is what kubectl gets. That it cannot is no "there is none": assign it, since only then `set -e` ends the script.
listed() {
  kubectl get "$@" || fail "kubectl get $1 failed; see above. Nothing more is removed: try again."
}

remove_stores() {
  local marked in name claims claim left
  marked=$(listed "$crd" --all-namespaces -l "$mark" \
    -o jsonpath='{range .items[*]}{.metadata.namespace}{" "}{.metadata.name}{"\n"}{end}')
  while read -r in name; do
    [[ -n $name ]] || continue
    # The claims are marked first: they are known then after a `down` that is broken off between the two.
    claims=$(listed pvc -n "$in" -l "$claims_of=$name" -o name)
    # shellcheck disable=SC2086
    [[ -z $claims ]] || kubectl -n "$in" label $claims --overwrite "$mark"
    kubectl -n "$in" delete "$crd" "$name" --ignore-not-found --wait
  done <<<"$marked"
  marked=$(listed pvc --all-namespaces -l "$mark" \
    -o jsonpath='{range .items[*]}{.metadata.namespace}{" "}{.metadata.name}{" "}{.metadata.labels.app\.kubernetes\.io/instance}{"\n"}{end}')
  while read -r in claim name; do
    [[ -n $name ]] || continue
    left=$(listed "$crd" -n "$in" "$name" --ignore-not-found -o name)
    if [[ -z $left ]]; then
      kubectl -n "$in" delete pvc "$claim" --ignore-not-found
    else
      echo "claim $claim in namespace $in stays: there is a RaftCluster $name that the demo did not make"
    fi
  done <<<"$marked"
}

remove_crd() {
  local marked stores
  marked=$(listed crd -l "$mark" --field-selector "metadata.name=$crd" -o name)
  if [[ -z $marked ]]; then
    echo "the CRD $crd stays: the demo did not make it. \`kubectl delete crd $crd\` removes it, and every RaftCluster with it"
    return
  fi
  # Somebody may have made one meanwhile, and the CRD would take it along.
  stores=$(listed "$crd" --all-namespaces --no-headers --ignore-not-found)
  [[ -z $stores ]] || fail "the CRD stays, since there is another RaftCluster meanwhile:
$stores"
  kubectl delete crd "$crd" --ignore-not-found
}

remove_namespace() {
  local marked claims
  marked=$(listed namespace -l "$mark" --field-selector "metadata.name=$namespace" -o name)
  if [[ -z $marked ]]; then
    marked=$(listed namespace "$namespace" --ignore-not-found -o name)
    [[ -z $marked ]] || echo "namespace $namespace stays: the demo did not make it"
    return
  fi
  claims=$(listed pvc -n "$namespace" -o name)
  if [[ -n $claims ]]; then
    printf 'namespace %s stays: the demo did not make these volumes in it\n%s\n' "$namespace" "$claims"
    return
  fi
  kubectl delete namespace "$namespace" --ignore-not-found
}

own_down() {
  export KUBECONFIG=$own_cluster
  client_programs
  local has_crd origin stores
  has_crd=$(listed crd "$crd" --ignore-not-found -o name)
  origin=$(release_origin) || fail "helm cannot tell whether there is a release $release; see above. Nothing is removed."
  if [[ -n $has_crd ]]; then
    remove_stores
    stores=$(listed "$crd" --all-namespaces --no-headers --ignore-not-found)
    if [[ -n $stores ]]; then
      printf 'There are RaftClusters that the demo did not make:\n%s\n' "$stores"
      echo "They stay, and with them the operator, its namespace $namespace, and the CRD."
      return
    fi
  fi
  if [[ $origin == other ]]; then
    echo "release $release in namespace $namespace stays, and with it the CRD: the demo did not make it"
    return
  fi
  [[ $origin == none ]] || helm uninstall "$release" --namespace "$namespace" --ignore-not-found --wait
  [[ -z $has_crd ]] || remove_crd
  remove_namespace
}

# --- both ------------------------------------------------------------------------------------------------------------

# crd_before is set where the CRD was there before the demo.
crd_before=

install_operator() {
  step "Installing the operator with helm"
  local failed=
  helm upgrade "$release" charts/raftkv --install --namespace "$namespace" --create-namespace --wait --timeout 3m "$@" >build/helm.log 2>&1 || failed=yes
  # Also after a failure: the CRD that it has made is the demo's.
  [[ -n $crd_before ]] || kubectl label crd "$crd" "$mark" >/dev/null || true
  [[ -z $failed ]] ||
    { cat build/helm.log >&2; kubectl -n "$namespace" get pods,events >&2 || true; fail "helm could not install the operator."; }
  kubectl -n "$namespace" get deployments
}

make_store() {
  step "Making a store: kubectl apply -k config/samples"
  # New images of the version that runs already reach its pods only when their template changes with them.
  kubectl kustomize config/samples |
    kubectl patch --local -f - --type=merge -o yaml \
      -p "{\"metadata\":{\"labels\":{\"${mark%=*}\":\"${mark#*=}\"}},\"spec\":{\"podTemplate\":{\"annotations\":{\"example.com/image\":\"$1\"}}}}" |
    kubectl apply -f -
  local deadline=$((SECONDS + 300)) seen='' now
  while :; do
    now=$(kubectl get raftcluster demo -o go-template='{{with .status}}{{or .readyReplicas 0}}{{else}}0{{end}} of {{.spec.replicas}} pods ready{{range .status.conditions}}{{if eq .type "Ready"}}: {{.message}}{{end}}{{end}}')
    if [[ $now != "$seen" ]]; then
      printf '  %4ds  %s\n' "$SECONDS" "$now"
      seen=$now
    fi
    kubectl wait raftcluster/demo --for=condition=Ready --timeout=2s >/dev/null 2>&1 && break
    if ((SECONDS > deadline)); then
      kubectl describe raftcluster demo >&2
      kubectl get pods -o wide >&2
      fail "the store did not become ready in 5 minutes; see above."
    fi
  done
  kubectl get raftclusters
  kubectl get pods -l app.kubernetes.io/instance=demo -o wide
}

forward=
stop_forward() { [[ -z $forward ]] || kill "$forward" 2>/dev/null || true; }
trap stop_forward EXIT

write_and_read() {
  step "Writing and reading a key through kubectl port-forward"
  local log port='' deadline=$((SECONDS + 30))
  log=$(mktemp)
  kubectl port-forward service/demo :2379 >"$log" 2>&1 &
  forward=$!
  while [[ -z $port ]]; do
    port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$log")
    ((SECONDS < deadline)) || { cat "$log" >&2; fail "kubectl port-forward does not come up."; }
    sleep 0.1
  done
  rm -f "$log"
  local url=http://127.0.0.1:$port/v1/kv/greeting value got
  value="hello from raftkv $version"
  echo "  curl -X PUT --data-binary '$value' $url"
  curl --fail-with-body --silent --show-error --max-time 30 --retry 5 -X PUT --data-binary "$value" "$url"
  echo "  curl $url"
  got=$(curl --fail-with-body --silent --show-error --max-time 30 --retry 5 "$url")
  echo "  $got"
  [[ $got == "$value" ]] || fail "wrote '$value' and read '$got'."
  stop_forward
  forward=
}

next_commands() {
  cat <<TEXT

The demo runs. Point kubectl and helm at it with
  $1
and try:
  kubectl get raftclusters,pods -o wide
  kubectl port-forward service/demo 2379:2379 & curl --retry 9 --retry-connrefused http://127.0.0.1:2379/v1/kv/greeting
  kubectl delete pod --wait=false "\$(kubectl get raftcluster demo -o jsonpath='{.status.leader.name}')"
  kubectl scale raftcluster demo --replicas 5 && kubectl get raftcluster demo --watch
  helm test $release --namespace $namespace
When you are done: $2
TEXT
}

mkdir -p build
case "${1:-}" in
  up) if [[ -n $own_cluster ]]; then own_up; else local_up; fi ;;
  down) if [[ -n $own_cluster ]]; then own_down; else local_down; fi ;;
  *) echo "usage: hack/demo.sh up|down" >&2 && exit 2 ;;
esac
