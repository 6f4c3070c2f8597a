#!/usr/bin/env bash
# Builds the image, plain and with BAKE=1, and runs it as platforms do. $ENGINE is docker, podman, or (default) the script
# `../shared/image/image.sh`, which needs no engine but root and Debian's packages.
set -euo pipefail
cd "$(dirname "$0")/.."
script=../shared/image/image.sh
engine=${ENGINE:-}
if [ -z "$engine" ]; then
  reason=''
  [ -x "$script" ] || reason="$script is missing"
  [ "$(id -u)" = 0 ] || reason='root is needed'
  if [ -z "$reason" ] && ! "$script" base > /tmp/ai-router-image-base.log 2>&1; then
    reason="the base image cannot be made: $(tail -n 1 /tmp/ai-router-image-base.log)"
  fi
  if [ -n "$reason" ]; then
    printf '\n%s\n  SKIPPED: the image was neither built nor run: %s\n%s\n\n' "${line:=$(printf '%.0s*' {1..100})}" "$reason" "$line"
    exit 0
  fi
fi
run() { if [ -n "$engine" ]; then "$engine" "$@"; else "$script" podman "$@"; fi 2>> "$work/engine.log"; }
build() {
  local log="$work/build.log"
  if [ -n "$engine" ]; then "$engine" build -t "$@" .; else "$script" build "$@"; fi > "$log" 2>&1 || { tail -n 40 "$log"; exit 1; }
}

work=$(mktemp -d)
name="ai-router-$$"
passed=0
finish() {
  status=$?
  run rm -f "$name" > /dev/null || true
  if [ "$status" != 0 ]; then tail -n 20 "$work/engine.log"; fi
  rm -rf "$work"
  if [ "$status" = 0 ]; then echo "image: $passed passed, 0 failed"; else echo "image: $passed passed, 1 failed"; fi
}
trap finish EXIT
fail() { echo "FAILED: $1"; shift; printf '%s\n' "$@"; run logs "$name" | tail -n 15 || true; exit 1; }
ok() { echo "  ok  $1"; passed=$((passed + 1)); }

# A folder of root, as platforms mount them.
volume() { local folder="$work/volume-$RANDOM$RANDOM"; mkdir -m 755 "$folder"; echo "$folder"; }

# start OPTIONS… IMAGE [COMMAND…]: without network
start() { run rm -f "$name" > /dev/null || true; run run -d --network none --name "$name" "$@" > /dev/null || fail "cannot start: $*"; }

CLASSIFY='
const ask = (path, init) => fetch("http://127.0.0.1:" + (process.env.PORT || 3000) + path, init);
const until = Date.now() + 60_000;
for (;;) {
  const { status } = await ask("/health").catch(() => ({}));
  if (status === 200) break;
  if (Date.now() > until) { console.log("not ready", status); process.exit(1); }
  await new Promise((resolve) => setTimeout(resolve, 100));
}
const answer = await ask("/classify", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ text: "what is 2 + 2?" }) });
const { route } = await answer.json();
const health = await (await ask("/health")).json();
console.log(answer.status, route, health.status);
'
# serves EXPECTED-STATUS DESCRIPTION: waits for /health, classifies, sends SIGTERM
serves() {
  local said code
  said=$(run exec "$name" node --input-type=module -e "$CLASSIFY") || fail "$2: does not answer" "$said"
  [ "$said" = "200 math $1" ] || fail "$2: answers wrongly" "$said"
  run stop -t 20 "$name" > /dev/null
  code=$(run inspect -f '{{.State.ExitCode}}' "$name")
  [ "$code" = 0 ] || fail "$2: SIGTERM ended it with $code"
  ok "$2"
}
# prints WANTED-STATUS PATTERN DESCRIPTION OPTIONS… IMAGE COMMAND…
prints() {
  local wanted=$1 pattern=$2 what=$3 said code=0; shift 3
  said=$(run run --rm --network none "$@") || code=$?
  [ "$code" = "$wanted" ] && grep -qE -e "$pattern" <<< "$said" || fail "$what: status $code" "$said"
  ok "$what"
}

plain="ai-router-plain:$$" baked="ai-router-baked:$$"
build "$plain"; ok 'the image builds'
build "$baked" --build-arg BAKE=1; ok 'the image builds with BAKE=1'

data=$(volume)
start -v "$data:/data/models" "$plain"
serves ready 'plain, on an empty volume of root'
[ "$(stat -c %u "$data/blobs")" = 1000 ] || fail 'the volume does not belong to the user of the daemon' "$(ls -ln "$data")"
start -v "$(volume):/data/models" -e MODEL_CACHE_DIR=/data/models "$baked"
serves ready 'baked, on an empty volume of root'
start "$baked"
serves ready 'baked, without a volume'
start "$plain"
serves ready 'plain, without a volume'
start -v "$(volume):/mnt/railway" -e RAILWAY_VOLUME_MOUNT_PATH=/mnt/railway -e RAILWAY_ENVIRONMENT_ID=x "$plain"
serves ready 'on the volume that RAILWAY_VOLUME_MOUNT_PATH names'
start -v "$(volume):/data" -e MODEL_CACHE_DIR=/data/models "$plain"
serves ready 'in a new folder below a mount of root'
start --user 123456:0 "$plain"
serves ready 'as any user of group 0, without a volume'
start --user 123456:0 "$baked"
serves ready 'baked, as any user of group 0'
start --cap-drop ALL --user 123456:0 --read-only --tmpfs /data/models:mode=0770 "$plain"
serves ready 'read-only root file system, no capability, any user of group 0'
start --cap-drop ALL -v "$(volume):/data/models" "$plain"
serves ready 'without any capability, on a volume of root'
start --cap-drop ALL --cap-add SETUID --cap-add SETGID --cap-add CHOWN -v "$(volume):/data/models" "$plain"
serves ready 'without CAP_KILL and CAP_SETPCAP'

prints 0 'SETTINGS|Settings|settings' '--help is that of ai-router' "$plain" --help
prints 0 'serve|Usage|usage' 'ai-router is on PATH' "$plain" ai-router --help
prints 0 'routes' 'ai-router lint reads the routes of the image' "$plain" ai-router lint routes/default.yaml
prints 0 '^v[0-9]+' 'a program on PATH runs as it is' "$plain" node --version
prints 0 'ok|fine|drain' 'doctor finds no fault on a volume' -v "$(volume):/data/models" "$plain" doctor
prints 0 '^{"a":1}$' 'stdin reaches a command' -i "$plain" node -e 'process.stdin.pipe(process.stdout)' <<< '{"a":1}'
