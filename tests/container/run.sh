#!/usr/bin/env bash
# Builds the image of the Containerfile and uses what is in it: the demo, an import, the gateway over HTTP with its health check, a
# grant, a backup, an orderly end. Nothing runs as root inside.
#   run.sh [BUILDAH'S OPTIONS FOR THE BUILD...], such as --build-arg BUILD_IMAGE=… or --volume ~/.cargo/registry:/usr/local/cargo/registry
# Needs buildah and root; no cgroups and no network of the container's own (isolation `chroot`). CARRACK_IMAGE names an image that
# is there, which is then not built. The gateway takes 127.0.0.1:8080, as its health check does. Everything it starts it ends.
set -euo pipefail
root=$(realpath "$(dirname "$0")/../..")
export BUILDAH_ISOLATION=chroot
image=${CARRACK_IMAGE:-}
if [ -z "$image" ]; then
    image=carrack-test
    buildah bud --format docker "$@" --tag "$image" --file "$root/Containerfile" "$root"
fi
work=$(mktemp -d)
container=$(buildah from --pull-never "$image")
gateway=
# Asks the gateway to end. What was started is buildah, with the gateway as its last descendant, which outlives it.
end() {
    local process=$gateway child
    while child=$(pgrep --parent "$process"); do process=$child; done
    kill -TERM "$process"
}
finish() {
    [ -z "$gateway" ] || end 2>/dev/null || true
    buildah rm "$container" >/dev/null
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

configured() {
    buildah inspect --type image --format "$1" "$image"
}
is() {
    [ "$2" = "$3" ] || { echo "$1 is $2, not $3" >&2; exit 1; }
}
is 'the user' "$(configured '{{.Docker.Config.User}}')" carrack
is 'the volumes' "$(configured '{{.Docker.Config.Volumes}}')" 'map[/data:{} /data-copies:{}]'
is 'the command' "$(configured '{{.Docker.Config.Cmd}}')" '[carrack-mcp --http 0.0.0.0:8080 --allowed-host localhost]'

# The data is in the container's own volume, as new as any: it takes owner and mode from the image.
install --directory --owner 10001 --group 10001 --mode 0700 "$work/copies"
within() {
    buildah run --volume "$work/copies:/copies" \
        --volume "$root/mcp-gateway/sample:/cars:ro" "$container" -- "$@"
}
is 'who runs' "$(within id -u)" 10001
for folder in /data /data-copies; do
    is "the mode of $folder" "$(within stat -c '%a %U' "$folder")" '700 carrack'
done
within carrack --version
within carrack-mcp demo --data /tmp/demo >"$work/demo"
grep -q '"mcpServers"' "$work/demo"
within carrack import /cars

within carrack-mcp --http 127.0.0.1:8080 --allowed-host localhost 2>"$work/log" &
gateway=$!
for _ in $(seq 200); do
    grep -q '^listening on ' "$work/log" && break
    kill -0 "$gateway" || { cat "$work/log" >&2; exit 1; }
    sleep 0.05
done
mapfile -t health < <(configured '{{range .Docker.Config.Healthcheck.Test}}{{println .}}{{end}}')
is 'the health check' "${health[0]} ${health[1]}" 'CMD bash'
is_healthy() {
    within "${health[@]:1:3}"
}
is_healthy
token=$(within carrack grant create --label me --repos all --collections all --may all --expires never 2>/dev/null)
page="GET / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\nAuthorization: Basic $(printf 'me:%s' "$token" | base64 -w0)\r\n\r\n"
exec 3<>/dev/tcp/127.0.0.1/8080
printf "$page" >&3
cat <&3 >"$work/page"
exec 3>&-
grep -q '<dt>repos</dt><dd>2</dd>' "$work/page" || { cat "$work/page" >&2; exit 1; }
within carrack backup /copies/monday
within carrack --data /copies/monday check

# It ends when it is asked to, and the health check says so.
end
wait "$gateway" || is 'how the gateway ended' "$?" 0
gateway=
if is_healthy 2>/dev/null; then
    echo 'the health check passes though nobody is there' >&2
    exit 1
fi
echo 'container: built, run, backed up and ended'
