#!/usr/bin/env bash
# Has Python speak to a carrack binary: pycapnp, with nothing of Carrack's but the schema.
#   run.sh [-t NAME]... CARRACK_BINARY KIT_GEN...
# KIT_GEN is the command that generates repos: the example `gen` of carrack-tests, or what runs it. NAME is a module of tests
# here, or `tcp`, which runs those of `reading`, `streams` and `faults` over TCP with a token; without -t all run. Needs Python 3.9 or newer; installs python3-venv where it is missing (Debian, as root). Everything it starts it ends.
set -euo pipefail

everything=(test_readme test_reading test_streams test_faults test_grants test_query test_store tcp)

names=()
while getopts t: option; do
    case $option in
    t) names+=("$OPTARG") ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
binary=$(realpath "$1")
shift
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

[ ${#names[@]} -gt 0 ] || names=("${everything[@]}")

make_venv() {
    python3 -m venv "$1" >/dev/null 2>&1
}
# A Debian python3 has no ensurepip without this package, and a machine may have no python3 at all.
make_venv "$work/venv" || {
    rm -rf "$work/venv"
    { apt-get update -q && apt-get install -y -q python3 python3-venv; } >&2
    make_venv "$work/venv"
}
python="$work/venv/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --requirement "$here/requirements.txt" >&2

mkdir "$work/generated"
"$@" --records 3000 --seed 7 --order pre --out "$work/generated/repo" >/dev/null
# Longer than what a stream has on the way, so that it can be stopped in its middle.
"$@" --records 25000 --seed 8 --mix social --order pre --out "$work/generated/big" >/dev/null

suite() {
    mkdir "$work/$1"
    PYTHONDONTWRITEBYTECODE=1 "$python" "$here/suite.py" "$binary" "$work/generated" "$work/$1" "$@"
}
modules=()
for name in "${names[@]}"; do
    [ "$name" = tcp ] || modules+=("$name")
done
if [ ${#modules[@]} -gt 0 ]; then suite unix "${modules[@]}"; fi
if [[ " ${names[*]} " == *" tcp "* ]]; then suite tcp test_reading test_streams test_faults; fi
