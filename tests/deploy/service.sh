#!/usr/bin/env bash
# deploy/systemd/vestibule.service under a systemd of its own: the init process of new namespaces, on a
# copy of this machine's files that is thrown away, with a network of its own. Takes the program and a
# folder to work in. Exit 3: this machine cannot do it.
set -euo pipefail
binary=$1 work=$2
here=$(cd "$(dirname "$0")/../.." && pwd)
root=$work/root

boot=$work/boot
cat >"$boot" <<BOOT
set -eu
mkdir -p $work/over $root
mount -t tmpfs tmpfs $work/over
mkdir $work/over/upper $work/over/work
mount -t overlay overlay -o lowerdir=/,upperdir=$work/over/upper,workdir=$work/over/work $root
mount -t proc proc $root/proc
mount -t sysfs -o ro sysfs $root/sys
mount -t tmpfs -o mode=755 tmpfs $root/run
mount -t tmpfs -o mode=1777 tmpfs $root/tmp
mount -t tmpfs -o mode=755 tmpfs $root/dev
mknod -m 666 $root/dev/null c 1 3
mknod -m 666 $root/dev/zero c 1 5
mknod -m 666 $root/dev/full c 1 7
mknod -m 666 $root/dev/random c 1 8
mknod -m 666 $root/dev/urandom c 1 9
mknod -m 666 $root/dev/tty c 5 0
mknod -m 666 $root/dev/ptmx c 5 2
mkdir $root/dev/shm
mount -t tmpfs tmpfs $root/sys/fs/cgroup
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
install -m 0755 $binary $root/usr/local/bin/vestibule
install -m 0644 $here/deploy/systemd/vestibule.service $root/etc/systemd/system/
# There is no journal here, and nobody has time to wait for a sign of life every 15 s.
mkdir $root/etc/systemd/system/vestibule.service.d
printf '[Service]\\nStandardError=append:/run/vestibule.log\\nWatchdogSec=4s\\n' >$root/etc/systemd/system/vestibule.service.d/log.conf
rm -rf $root/etc/vestibule
mkdir -m 0755 $root/etc/vestibule
install -m 0644 $work/proxy.toml $root/etc/vestibule/
install -m 0600 $work/client-secret $work/session-keys $root/etc/vestibule/
printf '[Unit]\nDescription=nothing but a manager\nDefaultDependencies=no\n' >$root/etc/systemd/system/proof.target
# Nothing of the machine's own services: what a service waits for by itself is there, and empty.
rm -rf $root/{etc,usr/lib}/systemd/system/*.target.wants
for unit in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket; do
    ln -sf /dev/null $root/etc/systemd/system/\$unit
done
ip link set lo up
# Not chroot: from inside one the kernel makes no user namespace.
cd $root
pivot_root . mnt
umount --lazy /mnt
# Credentials are mounted in a namespace that must be heard in the others.
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \
    --unit=proof.target --log-target=console --show-status=no
BOOT

"$binary" keygen >"$work/session-keys"
echo 'emulator~secret.that-everybody.may_know' >"$work/client-secret"
cat >"$work/proxy.toml" <<'TOML'
[server]
listen = "127.0.0.1:4180"
public_url = "http://localhost:4180"
drain_timeout = "2s"
[entra]
authority = "http://localhost:8443"
tenant = "contoso.onmicrosoft.com"
client_id = "0a11ce00-7e57-4a99-8d00-000000000001"
[upstream]
url = "http://127.0.0.1:8080"
TOML

unshare --mount --pid --fork --kill-child=KILL --uts --ipc --net --cgroup --propagation private \
    bash "$boot" >"$work/systemd.log" 2>&1 &
outer=$!
trap 'kill -KILL $outer 2>/dev/null || true; wait $outer 2>/dev/null || true' EXIT
trap 'exit 1' INT TERM
patience() { # seconds, command: until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}
inner() { cat "/proc/$outer/task/$outer/children" 2>/dev/null | tr -d ' ' | grep .; }
patience 10 inner || { cat "$work/systemd.log" >&2; exit 3; }
init=$(inner)
inside() { nsenter --target "$init" --mount --pid --uts --ipc --net --cgroup --root --wd "$@"; }
patience 15 inside systemctl is-active proof.target || { tail -20 "$work/systemd.log" >&2; exit 3; }

failed() {
    echo "$1" >&2
    inside systemctl status --no-pager --full vestibule.service >&2 || true
    inside cat /run/vestibule.log >&2 || true
    exit 1
}
show() { inside systemctl show --property "$1" --value vestibule.service; }
inside systemctl start vestibule.service || failed 'the unit does not start'
[ "$(show ActiveState)" = active ] || failed "not active: $(show ActiveState)"
[ "$(show StatusText)" = "not ready: waiting for Microsoft's metadata" ] || failed "the status is: $(show StatusText)"
inside /usr/local/bin/vestibule emulator --listen 127.0.0.1:8443 >"$work/emulator" 2>&1 &
is_ready() { [ "$(show StatusText)" = ready ]; }
patience 40 is_ready || failed "the status is: $(show StatusText)"
pid=$(show MainPID)
user=$(inside ps -o uid= -p "$pid" | tr -d ' ')
[ "$user" -ge 61184 ] && [ "$user" -le 65519 ] || failed "the user is not a dynamic one: $user"
inside /usr/local/bin/vestibule healthcheck >/dev/null || failed 'the health check fails'
if inside grep -q 'core dumps could not' /run/vestibule.log; then failed 'the sandbox keeps the program from forbidding core dumps'; fi
before=$(show WatchdogTimestampMonotonic)
inside systemctl reload vestibule.service || failed 'no reload'
is_active() { [ "$(show SubState)" = running ]; }
patience 10 is_active || failed "after the reload: $(show SubState)"
[ "$(show MainPID)" = "$pid" ] || failed 'the reload was a restart'
signed() { [ "$(show WatchdogTimestampMonotonic)" -gt "$before" ]; }
patience 40 signed || failed 'no sign of life'
inside systemctl stop vestibule.service || failed 'no stop'
[ "$(show Result)" = success ] || failed "the result of the stop is $(show Result)"
echo 'vestibule.service ran under systemd: a dynamic user, secrets by LoadCredential, READY before Microsoft answers, reload, watchdog, stop'
