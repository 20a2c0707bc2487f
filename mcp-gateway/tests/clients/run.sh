#!/bin/sh
# Runs the MCP clients people use against a carrack-mcp binary, over stdio and HTTP. Needs Node 20 or newer and npm.
#   run.sh BINARY
# Exits with a failure if any client does. Everything it starts it ends.
set -eu
binary=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# Installed beside the data, so that the source tree stays as it is.
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$here"/*.mjs "$work/"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2

sample="$here/../../sample"
node sdk.mjs "$binary" "$work/data" "$sample"
node client.mjs "$binary" "$work/data"

"$binary" --data "$work/data" --http 127.0.0.1:0 --tokenless 2>"$work/log" &
server=$!
url=
for _ in $(seq 200); do
    url=$(sed -n 's/^listening on //p' "$work/log")
    [ -n "$url" ] && break
    kill -0 "$server"
    sleep 0.05
done
[ -n "$url" ] || { cat "$work/log" >&2; exit 1; }
node sdk.mjs --http "$url"
node client.mjs --http "$url"

inspect() {
    node node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js --cli "$@" >"$work/out" 2>"$work/err" </dev/null ||
        { echo "inspector $*" >&2; cat "$work/out" "$work/err" >&2; exit 1; }
}
inspect "$binary" --data "$work/data" --method tools/list
grep -q '"at_overview"' "$work/out"
inspect "$binary" --data "$work/data" --method tools/call --tool-name at_overview
grep -q 'signature unchecked' "$work/out"
inspect "$url" --transport http --method tools/list
grep -q '"at_list"' "$work/out"
inspect "$url" --transport http --method tools/call --tool-name at_list --tool-arg actor=did:plc:rilb2cohzwgttp7xjllpyq2i --tool-arg limit=2
grep -q '"truncated"' "$work/out"
echo "inspector: stdio and http ok"
