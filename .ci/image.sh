#!/usr/bin/env bash
# Builds the image, plain and with BAKE=1, and runs it as platforms do. $ENGINE is docker, podman, or (default) the script
# `../shared/image/image.sh`, which needs no engine but root and Debian's packages.
set -euo pipefail
cd "$(dirname "$0")/.."
script=../shared/image/image.sh
engine=${ENGINE:-}
if [ -z "$engine" ]; then
  reason=''
  [ -f "$script" ] || reason="$script is missing"
  [ "$(id -u)" = 0 ] || reason='root is needed'
  if [ -z "$reason" ] && ! bash "$script" base > /tmp/ai-router-image-base.log 2>&1; then
    reason="the base image cannot be made: $(tail -n 1 /tmp/ai-router-image-base.log)"
  fi
  if [ -n "$reason" ]; then
    printf '\n%s\n  SKIPPED: the image was neither built nor run: %s\n%s\n\n' "${line:=$(printf '%.0s*' {1..100})}" "$reason" "$line"
    exit 0
  fi
fi
run() { if [ -n "$engine" ]; then "$engine" "$@"; else bash "$script" podman "$@"; fi 2>> "$work/engine.log"; }
build() {
  local log="$work/build.log"
  if [ -n "$engine" ]; then "$engine" build -t "$@" .; else bash "$script" build "$@"; fi > "$log" 2>&1 || { tail -n 40 "$log"; exit 1; }
}

work=$(mktemp -d)
name="ai-router-$$"
first=$name
passed=0
finish() {
  status=$?
  # One by one: podman removes nothing where a name comes twice.
  for each in "$first" "$first-twin"; do run rm -f "$each" > /dev/null || true; done
  if [ "$status" != 0 ]; then tail -n 20 "$work/engine.log"; fi
  rm -rf "$work"
  if [ "$status" = 0 ]; then echo "image: $passed passed, 0 failed"; else echo "image: $passed passed, 1 failed"; fi
}
trap finish EXIT
trap 'exit 143' TERM INT
fail() { echo "FAILED: $1"; shift; printf '%s\n' "$@"; run logs "$name" | tail -n 15 || true; exit 1; }
ok() { echo "  ok  $1"; passed=$((passed + 1)); }

# logged PATTERN: waits for a line of the log. All of it is read first: a pipe whose reader leaves early fails.
logged() {
  for _ in {1..40}; do
    if grep -qE -e "$1" <<< "$(run logs "$name" || true)"; then return; fi
    sleep 0.5
  done
  return 1
}

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
  if [ "$code" != "$wanted" ] || ! grep -qE -e "$pattern" <<< "$said"; then fail "$what: status $code" "$said"; fi
  ok "$what"
}

plain=ai-router-check:plain baked=ai-router-check:baked
build "$plain"; ok 'the image builds'
build "$baked" --build-arg BAKE=1; ok 'the image builds with BAKE=1'

# above_base IMAGE: compressed bytes of its layers, without the base's (podman only)
above_base() {
  rm -rf "$work/oci"
  run push -q "localhost/$1" "oci:$work/oci:image" > /dev/null
  node -e '
    const { readFileSync } = require("node:fs");
    const read = (path) => JSON.parse(readFileSync(process.argv[1] + "/" + path));
    const manifest = read("blobs/" + read("index.json").manifests[0].digest.replace(":", "/"));
    console.log(manifest.layers.slice(1).reduce((sum, { size }) => sum + size, 0));' "$work/oci"
}
if [ "$engine" != docker ]; then
  small=$(above_base "$plain") large=$(above_base "$baked")
  if [ "$small" -gt 32000000 ] || [ $((large - small)) -gt 3000000 ]; then fail "too large: $small bytes, baked $large"; fi
  ok "the image adds $small bytes to its base, compressed, and $large with BAKE=1"
fi

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
start -v "$(volume):/srv" -e MODEL_CACHE_DIR=/srv/models -e REQUIRE_MOUNT=true "$plain"
serves ready 'in /srv/models below a mount, which counts as one'
links=$(volume)
ln -s /mnt/disk "$links/models"
start -v "$(volume):/mnt/disk" -v "$links:/links" -e MODEL_CACHE_DIR=/links/models -e REQUIRE_MOUNT=true "$plain"
serves ready 'through a link to a mount of root'
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

start --memory 512m --memory-swap 512m --cpus 0.5 "$plain"
logged '"workers":1,"limited_by":"cpu_quota"' || fail 'the CPU quota does not bound the workers'
serves ready 'with one worker under 0.5 CPU and 512 MB'
start --memory 512m --memory-swap 512m -e INFERENCE_WORKERS=16 "$plain"
serves ready 'with 512 MB, when 16 workers are wanted'
logged '"wanted":16.*INFERENCE_WORKERS lowered' || fail 'more workers than the memory carries'
start --memory 256m --memory-swap 256m "$plain"
serves ready 'with one worker under 256 MB'
prints 2 'memory limit is 192 MiB, and one worker needs' 'too little memory ends the start with the minimum' \
  --memory 192m --memory-swap 192m "$plain" sh -c 'exec ai-router serve 2>&1'
start --read-only --cap-drop ALL --user 123456:0 "$baked"
serves ready 'baked, on a read-only root file system'

start -e SERVE_MODEL=true "$plain"
run exec "$first" node --input-type=module -e "$CLASSIFY" > /dev/null || fail 'the first of two does not answer'
run exec "$first" node deploy/healthcheck.js || fail 'the health check says no'
ok 'the health check needs no curl'
name="$first-twin"
run run -d --network "container:$first" --name "$name" -v "$(volume):/data/models" -e PORT=3001 -e MODEL_SOURCES=mirror \
  -e MODEL_MIRRORS=http://127.0.0.1:3000 --read-only --cap-drop ALL --security-opt no-new-privileges \
  --cap-add CHOWN --cap-add DAC_READ_SEARCH --cap-add SETGID --cap-add SETPCAP --cap-add SETUID "$plain" > /dev/null
serves ready 'a twin fills its volume from the first (as in compose.yaml)'
run rm -f "$name" > /dev/null
name=$first

prints 0 'ai-router serve' '--help is that of ai-router' "$plain" --help
prints 0 'ai-router' 'ai-router is on PATH' "$plain" ai-router --help
prints 0 'routes' 'ai-router lint reads the routes of the image' "$plain" ai-router lint routes/default.yaml
prints 0 '^v[0-9]+' 'a program on PATH runs as it is' "$plain" node --version
prints 0 'drain' 'doctor finds no fault on a volume' -v "$(volume):/data/models" "$plain" doctor
prints 1 'fix: mount it writable' 'doctor advises a writable mount on a read-only root' \
  --read-only --user 123456:0 "$plain" doctor
prints 0 'is whole and takes no writes' 'doctor finds a baked cache whole on a read-only root' \
  --read-only --user 123456:0 "$baked" doctor
prints 0 '^{"a":1}$' 'stdin reaches a command' -i "$plain" node -e 'process.stdin.pipe(process.stdout)' <<< '{"a":1}'
