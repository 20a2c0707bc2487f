#!/usr/bin/env bash
# Opens the status page of a carrack-mcp binary in Chromium, as wide as a phone and as a desk, light and dark, and checks what a
# person would: that it can be read, that it fits, that the figures are there, that nothing comes from elsewhere.
#   run.sh BINARY [FOLDER]
# FOLDER gets the screenshots. `carrack` must be beside BINARY. Needs Node 20 or newer, and Chromium (installed where it is missing:
# Debian, as root; CARRACK_CHROMIUM names another). Where none can be had, or it does not start, this says so, loudly, and ends
# without a failure, unless CARRACK_BROWSER=required.
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
    echo "!!! SKIPPED: $1; the status page was NOT looked at" >&2
    [ "${CARRACK_BROWSER:-}" != required ]
    exit
}
install() {
    command -v apt-get && [ "$(id -u)" = 0 ] && apt-get update -q && apt-get install -y -q --no-install-recommends chromium
}
chromium=$(browser) || {
    install >&2 || true
    chromium=$(browser) || skip 'there is no Chromium here, and none could be installed'
}
timeout 60 "$chromium" --headless --no-sandbox --user-data-dir="$work/first" --dump-dom about:blank >/dev/null 2>&1 ||
    skip "$chromium does not start here"
node "$here/page.mjs" "$binary" "$(dirname "$binary")/carrack" "$chromium" "$work" "$shots"
