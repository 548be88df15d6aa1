#!/usr/bin/env bash
# Boots systemd in a container of this very machine (systemd-nspawn, nothing is changed on it) with Veil installed in /opt/veil as
# the README says, starts veil.service, reloads, hangs, kills and stops it, and says what happened. Optional; about two minutes.
#
#   sudo systemd/try-in-container.sh              the real command
#   sudo systemd/try-in-container.sh PROGRAM      PROGRAM in the place of /opt/veil/bin/veil
#
# Needs root, Debian's systemd-container and python3-venv, and a package index. The container has no network and no GPU, and the
# limits of memory, processor and addresses do not hold in it. Exit code: 0 if all is as it should be.
set -euo pipefail

source_tree=$(cd "$(dirname "$0")/.." && pwd)
program=${1:+$(realpath "$1")}
workplace=$(mktemp -d /var/tmp/veil-container-XXXXXX)
trap 'rm -rf "$workplace"; [[ -z ${made_place:-} ]] || rmdir /opt/veil' EXIT
mkdir "$workplace"/{veil,out}

if [[ ! -e /opt/veil ]]; then
    mkdir /opt/veil
    made_place=yes
fi
echo "== installing in /opt/veil of the container"
# In a mount namespace of its own, so that nothing appears in the /opt/veil of this machine.
unshare --mount bash -euo pipefail -s "$workplace/veil" "$source_tree" <<'INSTALL'
mount --bind "$1" /opt/veil
/usr/bin/python3 -m venv /opt/veil
cp -r "$2" /opt/veil/source
/opt/veil/bin/pip install --quiet /opt/veil/source
rm -rf /opt/veil/source
INSTALL
if [[ -n $program ]]; then
    install -m 755 "$program" "$workplace/veil/bin/veil"
fi

cat >"$workplace/stream.yaml" <<'SETTINGS'
streams:
  - {name: door, input: /var/lib/veil/veil-demo/demo.mp4, loop: true, outputs: /var/lib/veil/recordings/, filter: {name: pixelate}}
http: {token: "${secret:door}"}
SETTINGS
cat >"$workplace/trial.service" <<TRIAL
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /trial.sh ${program:+stand-in}
ExecStopPost=/bin/systemctl --no-block poweroff
TRIAL
# The same sandbox around a command that ends: the whole pipeline, from the fork server to the encoder.
cat >"$workplace/once.conf" <<'ONCE'
[Service]
Type=oneshot
Restart=no
WatchdogSec=0
TimeoutStartSec=300
ExecStart=
ExecStart=/opt/veil/bin/python -c "from streamer.starting import main; main()" demo
ONCE
# A hang shows sooner.
printf '[Service]\nWatchdogSec=6\n' >"$workplace/watchdog.conf"

cat >"$workplace/trial.sh" <<'TRIAL'
exec >/out/trial.log 2>&1
shopt -s nullglob
failures=0
is() { # NAME EXPECTED ACTUAL
    if [[ $3 == $2 ]]; then echo "ok      $1: $3"; else echo "NOT OK  $1: $3, should be $2"; failures=$((failures + 1)); fi
}
value() { systemctl show --value --property="$1" "${2:-veil}.service"; }
wait_for() { # SECONDS PROPERTY VALUE
    local end=$((SECONDS + $1))
    until [[ $(value "$2") == "$3" ]] || ((SECONDS > end)); do sleep 0.2; done
}
started() { # NUMBER OF RESTARTS
    wait_for 30 NRestarts "$1"
    wait_for 150 ActiveState active
    is "restarts" "$1" "$(value NRestarts)"
    is "state" active "$(value ActiveState)"
}
# The daemon reloads after systemctl has come back.
reloaded() { sleep 3; wait_for 30 ActiveState active; }
of_process() { sed -n "s/^$2:[[:space:]]*\([^[:space:]]*\).*/\1/p" "/proc/$1/status"; }

echo "systemd $(systemctl --version | head -n 1)"
systemctl start veil-once.service
is "the whole pipeline in the sandbox" success "$(value Result veil-once)"

systemctl start veil.service
is "start" 0 "$?"
is "state" active "$(value ActiveState)"
echo "        says: $(value StatusText)"
main=$(value MainPID)
user=$(of_process "$main" Uid)
is "user, of those made for a service" '6[1-5]???' "$user"
is "seccomp" 2 "$(of_process "$main" Seccomp)"
is "no new privileges" 1 "$(of_process "$main" NoNewPrivs)"
is "capabilities" 0000000000000000 "$(of_process "$main" CapEff)"
is "bounding set" 0000000000000000 "$(of_process "$main" CapBnd)"
is "bytes of core files" 1 "$(sed -n 's/^Max core file size *\([^ ]*\) .*/\1/p' "/proc/$main/limits")"
children=$(ps --ppid "$main" -o pid=)
is "children" '*[0-9]*' "$(echo $children)"
is "variables of systemd that they have" 0 "$(for child in $children; do
    tr '\0' '\n' <"/proc/$child/environ" | grep -E '^(NOTIFY_SOCKET|WATCHDOG)'; done | wc -l)"
if [[ $1 != stand-in ]]; then
    is "status page, all streams" 200 "$(/opt/veil/bin/python - <<'PAGE'
from urllib.request import Request, urlopen
print(urlopen(Request("http://127.0.0.1:8700/readyz", headers={"Authorization": "Bearer secret-of-the-trial-0123456789"})).status)
PAGE
    )"
fi

systemctl reload veil.service
is "reload" 0 "$?"
reloaded
is "state after it" active "$(value ActiveState)"
echo "        says: $(value StatusText)"
cp /etc/veil/stream.yaml /run/valid.yaml
echo 'cameras: []' >/etc/veil/stream.yaml
systemctl reload veil.service
is "reload of a broken file, for the daemon to refuse" 0 "$?"
reloaded
is "state after it" active "$(value ActiveState)"
echo "        says: $(value StatusText)"
is "main process after both" "$main" "$(value MainPID)"
cp /run/valid.yaml /etc/veil/stream.yaml

kill -STOP "$main"
wait_for 60 NRestarts 1
started 1
is "killed for its silence" 1 "$(journalctl --unit=veil.service --grep='Watchdog timeout' --output=cat --quiet | wc -l)"
kill -KILL "$(value MainPID)"
started 2

systemctl stop veil.service
is "stop" 0 "$?"
is "result" success "$(value Result)"
is "exit code" 0 "$(value ExecMainStatus)"
is "its processes" "" "$(ps -U "$user" -o args=)"
is "what it left in /run and /tmp" "" "$(echo /run/veil* /run/private/veil* /tmp/veil* /dev/shm/*)"
is "mode of the state directory" 700 "$(stat -c %a /var/lib/private/veil)"
echo "        left in it: $(cd /var/lib/private/veil && echo *)"

echo 'cameras: []' >/etc/veil/stream.yaml
systemctl start veil.service
wait_for 15 ActiveState failed
is "with settings that are not valid" failed "$(value ActiveState)"
is "exit code" 2 "$(value ExecMainStatus)"
journalctl --unit=veil.service --unit=veil-once.service --output=short-monotonic --no-pager >/out/journal.log
((failures)) || touch /out/passed
TRIAL

bind_units=()
for unit in "$source_tree/systemd/veil.service" "$workplace/trial.service"; do
    bind_units+=("--bind-ro=$unit:/etc/systemd/system/$(basename "$unit")")
done
mkdir -p "$workplace/etc/credentials"
cp "$workplace/stream.yaml" "$workplace/etc/"
(umask 077 && printf secret-of-the-trial-0123456789 >"$workplace/etc/credentials/door")
echo "== booting"
timeout 600 systemd-nspawn --quiet --directory=/ --volatile=yes --boot --private-network --register=no --keep-unit --console=read-only \
    --bind-ro="$workplace/veil:/opt/veil" --bind="$workplace/etc:/etc/veil" --bind="$workplace/out:/out" \
    --bind-ro="$workplace/trial.sh:/trial.sh" "${bind_units[@]}" \
    --bind-ro="$source_tree/systemd/drop-ins/credentials.conf:/etc/systemd/system/veil.service.d/credentials.conf" \
    --bind-ro="$workplace/watchdog.conf:/etc/systemd/system/veil.service.d/watchdog.conf" \
    --bind-ro="$source_tree/systemd/veil.service:/etc/systemd/system/veil-once.service" \
    --bind-ro="$workplace/once.conf:/etc/systemd/system/veil-once.service.d/once.conf" \
    systemd.firstboot=no systemd.unit=trial.service </dev/null >"$workplace/boot.log" 2>&1 || true

if [[ ! -e $workplace/out/passed ]]; then
    tail -n 40 "$workplace/boot.log"
    cat "$workplace/out/journal.log" || true
fi
cat "$workplace/out/trial.log"
test -e "$workplace/out/passed"
