#!/usr/bin/env bash
# Opens the status page of a carrack-mcp binary in Chromium, as wide as a phone and as a desk, light and dark, and checks what a
# person would: that it can be read, that it fits, that the figures are there, that nothing comes from elsewhere.
#   run.sh BINARY [FOLDER]
# FOLDER gets the screenshots. `carrack` must be beside BINARY. Needs Node 20 or newer, and Chromium (installed where it is missing:
# Debian, as root; CARRACK_CHROMIUM names another). Where there is none to be had it says so, loudly, and ends without a failure.
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
chromium=$(browser) || {
    { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } >&2 || true
    chromium=$(browser) || {
        echo '!!! SKIPPED: there is no Chromium here and none could be installed; the status page was NOT looked at' >&2
        exit 0
    }
}
node "$here/page.mjs" "$binary" "$(dirname "$binary")/carrack" "$chromium" "$work" "$shots"
