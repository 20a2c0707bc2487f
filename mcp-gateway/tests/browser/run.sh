#!/usr/bin/env bash
# Opens the status page of a carrack-mcp binary in Chromium, as wide as a phone and as a desk, light and dark, and checks what a
# person would: that it can be read, that it fits, that the figures are there, that nothing comes from elsewhere.
#   run.sh BINARY [FOLDER]
# FOLDER gets the screenshots. `carrack` must be beside BINARY. Needs Node 20 or newer, and Chromium (installed where it is missing:
# Debian, as root; CARRACK_CHROMIUM names another). Without one it fails, unless CARRACK_CI_WITHOUT_CHROMIUM=1 says that the page need
# not be looked at, or nobody could install one here (not Debian, or not root): then it says so, loudly, and ends without a failure.
# Everything it starts it ends.
set -euo pipefail
binary=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
shots=${2:-$work/shots}
mkdir -p "$shots"

browser() {
    for name in ${CARRACK_CHROMIUM:+"$CARRACK_CHROMIUM"} chromium chromium-browser google-chrome; do
        command -v "$name" && return
    done
    return 1
}
skip() {
    echo "!!! SKIPPED: there is no Chromium here and $1; the status page was NOT looked at" >&2
    exit 0
}
chromium=$(browser) || {
    [ "${CARRACK_CI_WITHOUT_CHROMIUM:-}" = 1 ] && skip 'CARRACK_CI_WITHOUT_CHROMIUM=1 says that none is needed'
    command -v apt-get >/dev/null || skip 'no apt-get to install one'
    [ "$(id -u)" = 0 ] || skip 'whoever is not root cannot install one'
    { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } >&2 || true
    chromium=$(browser) || {
        echo 'there is no Chromium here and none could be installed; CARRACK_CI_WITHOUT_CHROMIUM=1 goes on without' >&2
        exit 1
    }
}
node "$here/page.mjs" "$binary" "$(dirname "$binary")/carrack" "$chromium" "$work" "$shots"
