#!/usr/bin/env bash
# Runs one kind of test.
#   unit   every module's tests that need no cluster, without the simulation
#   sim    the simulation: its campaign of fixed seeds and everything else in raft/sim
#   mutants  each of the bugs that the simulation must catch, within so many seeds (SEEDS, 4000; ONLY=part of a name)
#   plan-mutants  the same of the operator's decider and its simulation (SEEDS, 400; ONLY)
#   race   the unit tests under the race detector, with a few seeds of the simulation
#   hunt   a campaign of new seeds for so much processor time (CPU, 20m), or of so many (SEEDS); with SEED=N one seed, step by step
#   soak   hunt, ten minutes of chaos among real processes, both end-to-end suites, ROUNDS (10) times
set -euo pipefail
cd "$(dirname "$0")/.."

modules=(. hack/images test/localkube test/powerloss test/rules test/etcdclients test/etcdsuite)
# Few enough for a detector that makes everything some ten times slower.
race_seeds=50 race_story_seeds=1
# Packages that are tested at a time: one more than there are processors, since most of them wait for much of their time.
at_once=$(($(nproc) + 1))

section() { printf '\n=== %s\n' "$*"; }

# go_test MODULE ARGUMENTS... tests a module's packages, but raft/sim.
go_test() {
  local module=$1 packages
  shift
  packages=$(go list -C "$module" ./... | grep -vE "/raft/sim$|${without:-^$}") || return
  # shellcheck disable=SC2086
  go test -C "$module" -p "$at_once" "$@" $packages
}

failed=()

# tried WHAT COMMAND... remembers a failure and goes on: one run tells all that is broken.
tried() {
  local what=$1
  shift
  "$@" || failed+=("$what")
}

# verdict fails if anything that was tried did.
verdict() {
  [[ ${#failed[@]} -gt 0 ]] || return 0
  section "FAILED: ${#failed[@]} of the above"
  printf '%s\n' "${failed[@]}"
  return 1
}

# The operator's tests want a real API server: the one that localkube builds, unless KUBEBUILDER_ASSETS names another.
api_server() {
  [[ -z ${KUBEBUILDER_ASSETS:-} ]] || return 0
  section "an API server for the operator's tests"
  make --no-print-directory localkube
  KUBEBUILDER_ASSETS=$(build/localkube build)
  export KUBEBUILDER_ASSETS
  echo "$KUBEBUILDER_ASSETS"
}

# The tests of the interfaces type what people type.
curl_installed() {
  command -v curl >/dev/null && return
  section "curl is missing and will be installed"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends curl
}

hunt() {
  if [[ -n ${SEED:-} ]]; then
    go test ./raft/sim -count=1 -v -timeout 1h -run 'TestSimulation$' -sim.seed="$SEED" -sim.trace
    return
  fi
  local base
  base=$(date +%s%N)
  local length=(-sim.cpu="${CPU:-20m}")
  [[ -z ${SEEDS:-} ]] || length=(-sim.seeds="$SEEDS")
  section "simulation campaign from seed $base on: ${length[*]}"
  go test ./raft/sim -count=1 -v -timeout 24h -run 'TestCampaign$' -sim.base="$base" "${length[@]}"
}

case "${1:-}" in
  unit)
    curl_installed
    api_server
    for module in "${modules[@]}"; do
      section "unit tests of module $module"
      tried "$module" go_test "$module" -timeout 30m
    done
    verdict
    ;;
  sim)
    section "simulation"
    go test -v -timeout 30m ./raft/sim
    ;;
  mutants)
    section "bugs that the simulation must catch"
    go run ./raft/sim/mutants -seeds "${SEEDS:-4000}" -only "${ONLY:-}"
    ;;
  plan-mutants)
    section "bugs of the operator's decider that its simulation must catch"
    go run ./controllers/plan/mutants -seeds "${SEEDS:-400}" -only "${ONLY:-}"
    ;;
  race)
    curl_installed
    api_server
    export CGO_ENABLED=1
    # What keeps to the real clock or cuts real power is made ten times slower than its clocks by the detector; the code below it is
    # tested by the others.
    for module in "${modules[@]}"; do
      [[ $module != test/powerloss ]] || continue
      section "unit tests of module $module under the race detector"
      # `make vet` and the unit tests without the detector vet the same code.
      without='/test/sockets$|/raft/sim/scenario$' tried "$module" go_test "$module" -race -vet=off -timeout 30m
    done
    section "simulation under the race detector"
    tried raft/sim go test -race -vet=off -timeout 30m -run 'TestCampaign$' ./raft/sim -sim.seeds=$race_seeds
    tried raft/sim/scenario go test -race -vet=off -timeout 30m ./raft/sim/scenario -scenario.seeds=$race_story_seeds
    verdict
    ;;
  hunt)
    hunt
    ;;
  soak)
    for round in $(seq "${ROUNDS:-10}"); do
      section "round $round of ${ROUNDS:-10}"
      hunt
      go test ./test/chaos -count=1 -v -timeout 1h -chaos.duration=10m -chaos.seed="$(date +%s)"
      hack/e2e.sh
      hack/e2e.sh operations
    done
    ;;
  *)
    sed -n '2,10s|^# *||p' "$0" >&2
    exit 2
    ;;
esac
