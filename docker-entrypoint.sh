#!/bin/sh
# A platform's volume belongs to root. This gives it to the user that the daemon runs as, and drops root's rights for
# good before the daemon starts; `exec` makes the daemon process 1, so that SIGTERM reaches it.
# Started as another user (docker run --user), it changes nothing. RUN_AS=root keeps root.
set -eu
user="${RUN_AS:-node}"
volume="${MODEL_CACHE_DIR:-${RAILWAY_VOLUME_MOUNT_PATH:-}}"

if [ "$(id -u)" != 0 ] || [ "$user" = root ]; then exec "$@"; fi

group="$(id -g "$user")"
drop="setpriv --reuid=$user --regid=$group --init-groups --inh-caps=-all --bounding-set=-all --no-new-privs"
if ! $drop true 2>/dev/null; then
  echo "ai-router: this container may not change its user; the daemon runs as root" >&2
  exec "$@"
fi
if [ -n "$volume" ] && [ -d "$volume" ]; then
  # Links on the volume are never followed (-h). What cannot be changed is named by the daemon itself.
  find "$volume" -xdev ! -user "$user" -exec chown -h "$user:$group" {} + 2>/dev/null || true
fi
exec $drop "$@"
