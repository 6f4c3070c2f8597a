#!/bin/sh
# Process 1 of the image. Hands the volume, which belongs to root on most platforms, to the user that the daemon runs as,
# and runs `ai-router` with the given arguments and without root's rights; a program on PATH is run as it is.
# Started as another user (docker run --user), it hands over nothing. RUN_AS=root keeps root.
set -eu
main="$(dirname "$0")/../dist/main.js"
user="${RUN_AS:-node}"
volume="${MODEL_CACHE_DIR:-${RAILWAY_VOLUME_MOUNT_PATH:-/data/models}}"
drop=''
child=''
stopped=''

# The kernel drops signals to process 1 that have no handler. The shell catches them from the first moment and passes them
# on to the daemon, which has none while Node starts.
stop() {
  stopped="$1"
  caught=yes
  if [ -z "$child" ]; then exit 0; fi
  # Without CAP_KILL, root may not signal another user's process.
  kill -s "$1" "$child" 2>/dev/null || $drop sh -c "kill -s $1 $child" 2>/dev/null || true
}
trap 'stop TERM' TERM
trap 'stop INT' INT

# Changes the owner of everything on the volume. `find -execdir` and `chown -h` work relative to open folders and follow
# no link, so that another writer of the volume cannot direct them elsewhere. What cannot be changed is reported by the daemon.
hand_over() {
  volume="$(realpath -ms "$volume")"
  mkdir -p "$volume" && cd -P "$volume" || return 0
  if [ "$(pwd -P)" != "$volume" ]; then
    # Through a link: only a mounted volume, never a folder of the system.
    case "$(stat -c %m .)" in / | /proc* | /sys* | /dev* | /etc* | /run*) return 0 ;; esac
  fi
  find . -xdev ! -user "$user" -execdir chown -h "$user:$group" {} +
}

if [ "$(id -u)" = 0 ] && [ "$user" != root ]; then
  group="$(id -g "$user")"
  for rights in '--inh-caps=-all --bounding-set=-all' '--inh-caps=-all'; do
    drop="setpriv --reuid=$user --regid=$group --init-groups $rights --no-new-privs"
    if $drop true 2>/dev/null; then break; fi
    drop=''
  done
  if [ -n "$drop" ]; then
    # In the background, since a shell runs its traps only between commands and while it waits.
    (hand_over) 2>/dev/null &
    wait $! || true
  else
    echo "ai-router: this container may not change its user; the daemon runs as root" >&2
  fi
fi

case "$(command -v -- "${1:-}" || true)" in
  */node) ;;
  */ai-router) shift && set -- node "$main" "$@" ;;
  */*) exec $drop "$@" ;;
  *) set -- node "$main" "$@" ;;
esac
if [ $$ != 1 ]; then exec $drop "$@"; fi

# A shell connects its background commands with /dev/null, unless stdin is passed by another number.
exec 3<&0
$drop "$@" <&3 3<&- &
child=$!
exec 3<&-
# A terminal sends SIGINT to the daemon, too; a second one would end it without a drain.
if [ -t 0 ]; then trap 'caught=yes' INT; fi
if [ -n "$stopped" ]; then stop "$stopped"; fi
# `wait` ends with each signal that is caught, too; asked again, it waits on or repeats the status.
caught=yes
while [ -n "$caught" ]; do
  caught=''
  wait "$child" && status=0 || status=$?
done
# Ended by the signal itself, before the daemon had a handler: there was nothing to drain.
case "$stopped:$status" in TERM:143 | INT:130) status=0 ;; esac
exit "$status"
