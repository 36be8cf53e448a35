# shellcheck shell=bash
# What each example's `run` needs: the Entra emulator instead of Microsoft, and the proxy with the
# example's own proxy.toml. Sourced by bash, not run. Nothing here leaves this machine.
#
#   PORT        where to open the app in the browser   (4180)
#   APP_PORT    where the app itself listens           (8080)
#   ADMIN_PORT  the proxy's /readyz and /metrics       (4191)
#   VESTIBULE   the binary; else target/debug or release of this checkout, else the one on the PATH

PORT=${PORT:-4180} APP_PORT=${APP_PORT:-8080} ADMIN_PORT=${ADMIN_PORT:-4191}
PATH=$PATH:/usr/sbin   # where Debian keeps web servers
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

find_vestibule() {
    local candidate
    for candidate in "$examples"/../target/{debug,release}/vestibule "$(command -v vestibule || true)"; do
        if [ -x "$candidate" ]; then realpath "$candidate"; return; fi
    done
    echo 'there is no vestibule: build it (cargo build) or set VESTIBULE' >&2
    return 1
}
vestibule=${VESTIBULE:-$(find_vestibule)}
vestibule=$(realpath "$vestibule")
[ -x "$vestibule" ] || { echo "$vestibule cannot be run" >&2; exit 1; }

work=$(mktemp -d)
chmod 755 "$work"   # web servers give up root before they read their files
stop() {
    trap - EXIT
    local started
    started=$(jobs -p)
    # shellcheck disable=SC2086
    [ -z "$started" ] || kill $started 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 0' INT TERM

# `need COMMAND PACKAGE`: says which Debian package is missing.
need() {
    command -v "$1" >/dev/null || { echo "this example needs $1: apt-get install --no-install-recommends $2" >&2; exit 1; }
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

is_ready() { "$vestibule" healthcheck --admin "http://127.0.0.1:$1" >/dev/null 2>&1; }

# `await WHAT COMMAND…`: until the command succeeds, for half a minute.
await() {
    local what=$1 tries=600
    shift
    until "$@"; do
        ((tries -= 1)) || { echo "$what did not start" >&2; exit 1; }
        sleep 0.05
    done
}

# Each port must be free: a stranger would answer in the place of the example.
free() {
    local port
    for port; do
        if listens "$port"; then
            echo "port $port is taken: set PORT, APP_PORT or ADMIN_PORT" >&2
            exit 1
        fi
    done
}

# The emulator. Afterwards GRAPH is where the app finds Microsoft Graph.
start_entra() {
    free "$PORT" "$APP_PORT" "$ADMIN_PORT"
    "$vestibule" emulator --listen 127.0.0.1:0 --config "${1:-$examples/contoso.toml}" >"$work/client.toml" 2>"$work/emulator.log" &
    await 'the emulator' grep -qs '^users' "$work/client.toml"
    authority=$(sed -n 's/^authority = "\(.*\)"$/\1/p' "$work/client.toml")
    export GRAPH=$authority/v1.0
}

# `start_app COMMAND…`: the app, which must listen on APP_PORT.
start_app() {
    "$@" &
    await 'the app' listens "$APP_PORT"
}

# What of ./proxy.toml differs on one's own machine.
set_up_proxy() {
    sed -n 's/^client_secret = "\(.*\)"$/\1/p' "$work/client.toml" >"$work/client-secret"
    "$vestibule" keygen >"$work/session-keys"
    chmod 600 "$work/client-secret" "$work/session-keys"
    export VESTIBULE_CONFIG=$PWD/proxy.toml
    export VESTIBULE__ENTRA__AUTHORITY=$authority
    export VESTIBULE__ENTRA__CLIENT_SECRET_FILE=$work/client-secret
    export VESTIBULE__SESSION__KEYS_FILE=$work/session-keys
    export VESTIBULE__SERVER__PUBLIC_URL=http://localhost:$PORT
    export VESTIBULE__SERVER__LISTEN=127.0.0.1:$PORT
    export VESTIBULE__ADMIN__LISTEN=127.0.0.1:$ADMIN_PORT
    export VESTIBULE__UPSTREAM__URL=http://127.0.0.1:$APP_PORT
    export VESTIBULE__SERVER__DRAIN_TIMEOUT=1s   # no load balancer has to look away
    export VESTIBULE__LOG__LEVEL=${LOG:-warn}
}

# The proxy; returns when it is ready.
start_proxy() {
    set_up_proxy
    "$vestibule" run &
    await 'the proxy' is_ready "$ADMIN_PORT"
}

# Says where to look, and stays until Ctrl-C or until one of the programs ends.
serve() {
    echo "open http://localhost:$PORT${1:-/}   (Ctrl-C ends everything)"
    wait -n || true
    echo "one of the programs ended" >&2
    exit 1
}
