#!/usr/bin/env bash
# Which small faults in a module do the tests not notice?   tests/mutate.sh MODULE TEST...
# Works on a copy of the last commit, for up to HOURS (2); a second run with the same WORK goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$1
shift
bin=$PWD/.venv/bin
work=${WORK:-$(mktemp -d)}
echo "== mutants of $module in $work"
if [ ! -e "$work/session.sqlite" ]; then
    mkdir -p "$work/copy"
    git archive HEAD | tar -x -C "$work/copy"
    cp "$work/copy/$module" "$work/original"
    cat >"$work/session.toml" <<END
[cosmic-ray]
module-path = "$module"
timeout = 120.0
excluded-modules = []
test-command = "$bin/python -m pytest -x -q -p no:cacheprovider $*"
[cosmic-ray.distributor]
name = "local"
END
fi
cd "$work/copy"
cp ../original "$module" # a run that was stopped leaves its last mutant there
export PYTHONPATH=$PWD # before the checkout that .venv knows
[ -e ../session.sqlite ] || "$bin/cosmic-ray" init ../session.toml ../session.sqlite
timeout "${HOURS:-2}h" "$bin/cosmic-ray" exec ../session.toml ../session.sqlite || echo "Stopped early; set WORK=$work to go on."
"$bin/cr-report" --surviving-only --show-diff ../session.sqlite
