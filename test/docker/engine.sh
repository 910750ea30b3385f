#!/usr/bin/env bash
# A Docker engine for the tests, also on a Debian machine that has none and reaches no image registry:
# Debian's docker.io run by hand, and base images made from Debian's and npm's packages. Those are
# stand-ins (`stand-in/node`, `stand-in/redis`): a green test proves the Dockerfile and the compose
# file, not the official images. An engine that is there is used as it is, with the official images.
#
#   engine.sh check            says whether an engine is there or can be had; exit 1 if not
#   engine.sh run <command>    runs the command with an engine and ends what it started
#   engine.sh clean            removes everything that was kept for the next run (root file system, layers)
#
# Must leave the host's network alone: no packet filter, no forwarding, no default bridge.
set -euo pipefail

dir=${HOLDFAST_DOCKER_DIR:-${TMPDIR:-/tmp}/holdfast-docker}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")
node_image=stand-in/node:24-$codename-slim
redis_image=stand-in/redis:$codename

say() { printf 'engine: %s\n' "$*" >&2; }
fail() { say "$*"; exit 78; }

has_engine() { docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }
can_have_engine() { [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && [ -n "$codename" ]; }

check() {
  if has_engine; then say 'a Docker engine is there'
  elif can_have_engine; then say 'no Docker engine is there; one can be started here (root on Debian)'
  else say 'no Docker engine is there, and starting one takes root on Debian'; return 1; fi
}

# Debian's own client first: another one on the PATH may lack what builds need. Only that one: the rest
# of the PATH, with the Node that the tests run on, stays as it is.
use_own_engine() {
  export DOCKER_HOST=unix://$dir/run/docker.sock DOCKER_CONFIG=$dir/config
  mkdir -p "$dir/bin"
  ln -sf /usr/bin/docker "$dir/bin/docker"
  export PATH=$dir/bin:$PATH:/usr/sbin:/sbin
  export DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
}

install_packages() {
  local missing=()
  for name in docker.io docker-compose debootstrap unzip; do
    dpkg -s "$name" >/dev/null 2>&1 || missing+=("$name")
  done
  if ((${#missing[@]})); then
    say "installing ${missing[*]}"
    apt-get -qq update
    # Without recommended packages nothing tries to start the engine as a service.
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends \
      "${missing[@]}" iptables >/dev/null
  elif [ -z "$(mirror)" ]; then
    apt-get -qq update
  fi
}

# Where this machine gets Debian from.
mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
    "Codename: $codename" | head -n 1
}

start_engine() {
  mkdir -p "$dir"/{run,exec,data,config/cli-plugins}
  docker info >/dev/null 2>&1 && return
  rm -f "$dir/run/docker.pid"
  dockerd -H "$DOCKER_HOST" --data-root "$dir/data" --exec-root "$dir/exec" \
    --pidfile "$dir/run/docker.pid" --storage-driver="${HOLDFAST_DOCKER_STORAGE:-overlay2}" \
    --iptables=false --ip6tables=false --ip-forward=false --bridge=none >"$dir/dockerd.log" 2>&1 9>&- &
  for _ in $(seq 100); do
    docker info >/dev/null 2>&1 && break
    sleep 0.2
  done
  docker info >/dev/null 2>&1 || { tail -n 20 "$dir/dockerd.log" >&2; fail 'the engine did not start'; }
}

# Debian 12 has `docker-compose`, not the plugin `docker compose`.
adapt_compose() {
  docker compose version >/dev/null 2>&1 && return
  cat >"$dir/config/cli-plugins/docker-compose" <<'SHIM'
#!/bin/sh
if [ "$1" = docker-cli-plugin-metadata ]; then
  echo '{"SchemaVersion":"0.1.0","Vendor":"Debian","Version":"1.29.2","ShortDescription":"docker-compose"}'
  exit 0
fi
[ "$1" = compose ] && shift
exec /usr/bin/docker-compose "$@"
SHIM
  chmod +x "$dir/config/cli-plugins/docker-compose"
}

make_root_file_system() {
  [ -f "$dir/rootfs.tar" ] && return
  say "making a Debian root file system ($codename)"
  rm -rf "$dir/rootfs"
  debootstrap --variant=minbase --include=ca-certificates "$codename" "$dir/rootfs" "$(mirror)" \
    >"$dir/debootstrap.log" 2>&1 || { tail -n 5 "$dir/debootstrap.log" >&2; fail 'debootstrap failed'; }
  # As the official images: no packages kept, no lists, no documents.
  rm -rf "$dir"/rootfs/var/{cache/apt,lib/apt/lists}/* "$dir"/rootfs/usr/share/{doc,man,locale}/*
  # A network may sign again what it lets through.
  cp /etc/ssl/certs/ca-certificates.crt "$dir/rootfs/etc/ssl/certs/ca-certificates.crt"
  tar -C "$dir/rootfs" -cf "$dir/rootfs.tar.part" .
  mv "$dir/rootfs.tar.part" "$dir/rootfs.tar"
  rm -rf "$dir/rootfs"
}

# A fresh copy of the root file system, to become an image.
copy_root() {
  rm -rf "$dir/image" && mkdir -p "$dir/image"
  tar -C "$dir/image" -xf "$dir/rootfs.tar"
}

make_node_image() {
  docker image inspect "$node_image" >/dev/null 2>&1 && return
  local arch version pack=$dir/pack root=$dir/image
  arch=$(node -p process.arch)
  version=$(node -p "require('$here/../../package.json').optionalDependencies['node-linux-$arch']")
  say "making $node_image (Node $version, $arch)"
  copy_root
  rm -rf "$pack" && mkdir -p "$pack"
  (cd "$pack" && npm pack --silent "node-linux-$arch@$version" npm@11 >/dev/null)
  tar -xzf "$pack"/node-linux-*.tgz -C "$pack" package/bin/node
  install -D -m 755 "$pack/package/bin/node" "$root/usr/local/bin/node"
  mkdir -p "$root/usr/local/lib/node_modules/npm"
  tar -xzf "$pack"/npm-*.tgz -C "$root/usr/local/lib/node_modules/npm" --strip-components=1
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
  chmod +x "$root"/usr/local/lib/node_modules/npm/bin/*.js
  chroot "$root" groupadd -g 1000 node
  chroot "$root" useradd -u 1000 -g node -m -s /bin/bash node
  tar -C "$root" -c . | docker import \
    -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    -c 'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt' -c 'CMD ["node"]' \
    - "$node_image" >/dev/null
  rm -rf "$root" "$pack"
}

make_redis_image() {
  docker image inspect "$redis_image" >/dev/null 2>&1 && return
  say "making $redis_image"
  local root=$dir/image
  copy_root
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod +x "$root/usr/sbin/policy-rc.d"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  chroot "$root" sh -c 'apt-get -qq update \
    && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* && install -d -o redis -g redis /data' \
    >"$dir/redis.log" 2>&1 || { tail -n 5 "$dir/redis.log" >&2; fail 'installing redis-server failed'; }
  tar -C "$root" -c . | docker import -c 'WORKDIR /data' -c 'USER redis' -c 'EXPOSE 6379' \
    -c 'CMD ["redis-server"]' - "$redis_image" >/dev/null
  rm -rf "$root"
}

# Everything but images and layers; also what a run that was killed has left.
sweep() {
  local containers
  containers=$(docker ps -aq 2>/dev/null || true)
  # shellcheck disable=SC2086 # several ids
  [ -z "$containers" ] || docker rm -f -v $containers >/dev/null 2>&1 || true
  docker network prune -f >/dev/null 2>&1 || true
  docker volume prune -f >/dev/null 2>&1 || true
  docker image prune -f >/dev/null 2>&1 || true
}

stop_engine() {
  local pid
  pid=$(cat "$dir/run/docker.pid" 2>/dev/null) || return 0
  sweep
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 150); do
    [ -e "$dir/run/docker.pid" ] || break
    sleep 0.1
  done
  umount "$dir"/exec/netns/* 2>/dev/null || true
}

run() {
  if has_engine; then
    "$@"
    return
  fi
  check || exit 78
  mkdir -p "$dir"
  # One run at a time; the next waits. The engine itself must not inherit the lock.
  exec 9>"$dir/lock"
  flock 9
  use_own_engine
  install_packages
  trap stop_engine EXIT
  start_engine
  sweep
  adapt_compose
  make_root_file_system
  make_node_image
  make_redis_image
  say "ready: Docker $(docker version -f '{{.Server.Version}}'), $(docker info -f '{{.Driver}}' 2>/dev/null)"
  # Without a bridge of its own the engine reaches packages through the host's network.
  export HOLDFAST_TEST_NODE_IMAGE=$node_image HOLDFAST_TEST_BUILD_NETWORK=host REDIS_IMAGE=$redis_image
  "$@"
}

case ${1:-} in
  check) check ;;
  run) shift; run "$@" ;;
  clean) use_own_engine; stop_engine; rm -rf "$dir" ;;
  *) sed -n '2,13p' "${BASH_SOURCE[0]}" | sed 's/^# \?//' >&2; exit 2 ;;
esac
