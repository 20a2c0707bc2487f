#!/bin/sh
# Has the reference implementation (npm) verify what a carrack binary exports. Needs Node 20 or newer and npm.
#   run.sh CARRACK_BINARY KIT_GEN...
# KIT_GEN is the command that generates repos: the example `gen` of carrack-tests, or what runs it.
# Exits with a failure at any difference. Everything it writes is in a temporary folder that goes away.
set -eu
binary=$(realpath "$1")
shift
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

mkdir "$work/generated"
for curve in k256 p256; do
    "$@" --records 2000 --seed 7 --curve "$curve" --order pds --out "$work/generated/generated-$curve" >/dev/null
done

# Installed beside the data, so that the source tree stays as it is.
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$here/check.mjs" "$work/"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
node check.mjs "$binary" "$here/../fixtures/pds-made" "$work/generated" "$work/written"
