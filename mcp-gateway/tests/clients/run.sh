#!/usr/bin/env bash
# Runs the MCP clients people use against a carrack-mcp binary, over stdio and HTTP: two official Node clients, the official
# Python client, the Inspector. Each lists tools, calls, reads and gets errors.
#   run.sh BINARY
# Needs Node 20 or newer, npm, Python 3.10 or newer and its venv (installed where it is missing: Debian, as root). Exits with a
# failure if any client does. Everything it starts it ends.
set -euo pipefail
binary=$(realpath "$1")
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
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$here"/*.mjs "$work/"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
make_venv() {
    python3 -m venv "$work/venv" >/dev/null 2>&1
}
# A Debian python3 has no ensurepip without this package, and a machine may have no python3 at all.
make_venv || {
    rm -rf "$work/venv"
    { apt-get update -q && apt-get install -y -q python3 python3-venv; } >&2
    make_venv
}
python="$work/venv/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --requirement "$here/requirements.txt" >&2

sample="$here/../../sample"
node sdk.mjs "$binary" "$work/data" "$sample"
node client.mjs "$binary" "$work/data"
"$python" "$here/client.py" "$binary" "$work/data"

: >"$work/log"
"$binary" --data "$work/data" --http 127.0.0.1:0 --tokenless 2>>"$work/log" &
server=$!
url=
for _ in $(seq 200); do
    url=$(sed -n 's/^listening on //p' "$work/log")
    [ -n "$url" ] && break
    kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
    sleep 0.05
done
[ -n "$url" ] || { cat "$work/log" >&2; exit 1; }
# How they get in: by the owner's token, where the server asks for tokens and has told it.
MCP_TOKEN=$(sed -n "s/^the owner's token for this run: //p" "$work/log")
export MCP_TOKEN
node sdk.mjs --http "$url"
node client.mjs --http "$url"
"$python" "$here/client.py" --http "$url"

# inspect ok|refused PATTERN ARGUMENTS...: how it has to end, and what it has to print.
inspect() {
    local end=$1 pattern=$2 ended=ok
    shift 2
    node node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js --cli "$@" >"$work/out" 2>&1 </dev/null || ended=refused
    [ "$ended" = "$end" ] && grep -q -- "$pattern" "$work/out" ||
        { echo "inspector $*: $ended, not $end with $pattern" >&2; cat "$work/out" >&2; exit 1; }
}
actor=did:plc:rilb2cohzwgttp7xjllpyq2i
http=("$url" --transport http)
if [ -n "$MCP_TOKEN" ]; then http+=(--header "Authorization: Bearer $MCP_TOKEN"); fi
stdio=("$binary" --data "$work/data")
for door in stdio http; do
    declare -n to=$door
    inspect ok '"at_overview"' "${to[@]}" --method tools/list
    inspect ok 'signature unchecked' "${to[@]}" --method tools/call --tool-name at_overview
    inspect ok '"truncated"' "${to[@]}" --method tools/call --tool-name at_list --tool-arg "actor=$actor" --tool-arg limit=2
    inspect refused '"notFound"' "${to[@]}" --method tools/call --tool-name at_list --tool-arg "actor=$actor" --tool-arg collection=post
    inspect refused 'unknown tool\|not found' "${to[@]}" --method tools/call --tool-name at_nothing
    inspect ok "at://$actor" "${to[@]}" --method resources/list
    inspect ok 'fx-varied.test' "${to[@]}" --method resources/read --uri "at://$actor/app.bsky.actor.profile/self"
done
echo "inspector: stdio and http ok"
