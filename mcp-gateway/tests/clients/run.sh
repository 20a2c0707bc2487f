#!/usr/bin/env bash
# Runs the MCP clients people use against a carrack-mcp binary, over stdio and HTTP: two official Node clients, the official
# Python client, the Inspector. Each lists tools, calls, reads and gets errors. Two then have a whole session, which has to be the
# one in the README of mcp-gateway; UPDATE=1 writes it there.
#   run.sh BINARY CARRACK KIT_GEN...
# KIT_GEN is the command that generates repos: the example `gen` of carrack-tests, or what runs it.
# Needs Node 20 or newer, npm, Python 3.10 or newer and its venv (installed where it is missing: Debian, as root). Exits with a
# failure if any client does. Everything it starts it ends.
set -euo pipefail
binary=$(realpath "$1")
carrack=$(realpath "$2")
shift 2
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

unset CARRACK_DATA CARRACK_STORE CARRACK_TOKEN
export DIR="$work/session"
mkdir "$DIR"
NEW=$("$@" --records 5000 --seed 7 --mix social --order pre --out "$DIR/new" | sed -n 's/^did\t//p')
export NEW

# Installed beside the data, so that the source tree stays as it is.
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$here"/*.mjs "$here/session.json" "$work/"
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

# serve ARGUMENTS...: starts the gateway on HTTP, and sets `server` and `url`.
serve() {
    : >"$work/log"
    "$binary" --http 127.0.0.1:0 "$@" 2>>"$work/log" &
    server=$!
    url=
    for _ in $(seq 200); do
        url=$(sed -n 's/^listening on //p' "$work/log")
        [ -n "$url" ] && return
        kill -0 "$server" || break
        sleep 0.05
    done
    cat "$work/log" >&2
    exit 1
}
serve --data "$work/data" --tokenless
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
    inspect ok "at://$actor" "${to[@]}" --method resources/list
    inspect ok 'fx-varied.test' "${to[@]}" --method resources/read --uri "at://$actor/app.bsky.actor.profile/self"
done
echo "inspector: stdio and http ok"
kill "$server"
wait "$server"
server=

# A whole session. The archive holds two accounts whose signatures were checked; an agent's grant is made; it ends while the agent is at work.
export CAR="$DIR/new.pre.car" DATA="$DIR/data" TOKENFILE="$DIR/agent.token" CARRACK_DATA="$DIR/data"
mkdir "$DIR/bin"
ln -s "$carrack" "$DIR/bin/carrack"
export PATH="$DIR/bin:$PATH"
for name in varied varied-friend; do
    fixture="$here/../../../tests/fixtures/pds-made/$name"
    "$python" -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["didDoc"]))' <"$fixture.json" >"$DIR/$name.json"
done
# prepare: an archive as the owner has it, and the agent's token.
prepare() {
    rm -rf "$DATA"
    for name in varied varied-friend; do
        carrack import "$here/../../sample/$name.car" --did-doc "$DIR/$name.json" >/dev/null
    done
    carrack grant create --label agent --repos all --collections all --may read,list,prove,export,import --expires 1h >"$TOKENFILE" 2>"$work/made"
    GRANT=$(sed -n 's/^grant \([^:]*\):.*/\1/p' "$work/made")
    export GRANT
}
readme="$here/../../README.md"
prepare
SOURCE="$CAR" node session.mjs "$binary" "$work/events"
"$python" "$here/transcript.py" "$readme" stdio "$work/events"
echo "a whole session: stdio ok, as in the README"
prepare
serve --import-root "$DIR"
SOURCE=new.pre.car "$python" "$here/session.py" "$url" "$work/events"
"$python" "$here/transcript.py" "$readme" http "$work/events"
echo "a whole session: http ok, as in the README"
