#!/usr/bin/env bash
# What the image weighs and how long a container takes to start; the figures are in docs/docker.md.
#   bash test/docker/engine.sh run bash test/docker/measure.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
network=holdfast-measure
port=8099
runs=7

build=(--tag holdfast:measure .)
[ -z "${HOLDFAST_TEST_BUILD_NETWORK:-}" ] || build=(--network "$HOLDFAST_TEST_BUILD_NETWORK" "${build[@]}")
[ -z "${HOLDFAST_TEST_NODE_IMAGE:-}" ] || build=(--build-arg NODE_IMAGE="$HOLDFAST_TEST_NODE_IMAGE" "${build[@]}")
docker build --quiet "${build[@]}" >/dev/null
base=$(docker image inspect -f '{{index .Config.Labels "org.opencontainers.image.base.name"}}' holdfast:measure)

size() { docker image inspect -f '{{.Size}}' "$1"; }
mb() { awk -v bytes="$1" 'BEGIN { printf "%.0f MB", bytes / 1e6 }'; }
printf 'image %s, of which the base (%s) is %s; %s to send (gzip)\n' "$(mb "$(size holdfast:measure)")" \
  "$base" "$(mb "$(size "$base")")" "$(mb "$(docker save holdfast:measure | gzip -c | wc -c)")"

docker network create "$network" >/dev/null
trap 'docker rm -f -v holdfast-measure >/dev/null 2>&1 || true; docker network rm "$network" >/dev/null' EXIT
for _ in $(seq "$runs"); do
  docker create --name holdfast-measure --network "$network" -p "127.0.0.1:$port:8080" \
    -e REDIS_URL=redis://nobody:6379 -e HTTP_HOST=0.0.0.0 -e HTTP_TOKEN=measured-by-the-tests holdfast:measure >/dev/null
  began=$(date +%s%3N)
  docker start holdfast-measure >/dev/null
  until curl -sf -o /dev/null "127.0.0.1:$port/startupz"; do sleep 0.01; done
  up=$(($(date +%s%3N) - began))
  own=$(docker logs holdfast-measure 2>&1 | sed -n 's/.*"startMs":\([0-9]*\).*/\1/p')
  memory=$(docker stats --no-stream --format '{{.MemUsage}}' holdfast-measure | cut -d/ -f1)
  printf 'docker start to ready: %s ms (of which the service itself %s ms), memory %s\n' "$up" "$own" "$memory"
  docker rm -f -v holdfast-measure >/dev/null
done
