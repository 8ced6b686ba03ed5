#!/usr/bin/env bash
# All steps: export with k = 2, serve, classify some images over gRPC, check, stop the server.
# Needs export-model, serve-model and serving-client on the PATH; `make demo` sees to that.
set -euo pipefail
cd "$(dirname "$0")/.."

here=demo # made anew each time, and left to look at
samples=exporter/presets/digits/samples
rm -rf "$here"
mkdir "$here"
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true' EXIT

say() { printf '\n== %s\n' "$*"; }

say "export-model digits --k 2: a network that finds handwritten digits becomes a version that a server can load"
export-model digits --k 2 --output "$here/models"

say "serve-model: the stand-in for tensorflow_model_server, on a free port"
serve-model --port=0 --model_name=digits --model_base_path="$PWD/$here/models/digits" >"$here/server.log" 2>&1 &
server=$!
for _ in $(seq 600); do
    port=$(sed -n 's/^Running gRPC ModelServer at .*:\([0-9]*\) .*/\1/p' "$here/server.log")
    [ -z "$port" ] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if [ -z "$port" ]; then
    echo "FAILED: the server did not start; it said:"
    cat "$here/server.log"
    exit 1
fi
echo "listening on port $port"
client=(serving-client --address "localhost:$port" --model digits)

say "serving-client predict: at most two of the eight labels stay for each image"
(cd "$samples" && "${client[@]}" predict 00.png 01.png 02.png 03.png 04.png)

say "serving-client check: is what is served what was exported?"
checked=0
"${client[@]}" check --golden "$here/models/digits/1" || checked=$?

say "stopping the server"
kill "$server"
stopped=0
wait "$server" || stopped=$?
server=

if [ "$checked" = 0 ] && [ "$stopped" = 0 ]; then
    say "PASSED: exported, served, called and checked. The version is in $here/models/digits/1"
else
    say "FAILED: the check ended with status $checked, the server with status $stopped"
    exit 1
fi
