# Sourced by tests/package and tests/tour: our Debian package, and a Debian 12 of its own under a real systemd to try it in.
# Needs root and a Debian mirror.
[ "$(id -u)" = 0 ] || { echo "run this as root" >&2; exit 1; }

say() { echo "==> $*"; }
die() { echo "FAILED: $*" >&2; exit 1; }
work=$(mktemp -d)
overlay=$work/overlay # /transship inside
mkdir -p "$overlay"
machine=transship-test-$$
boot=
finish() {
  if [ -n "$boot" ] && kill -0 "$boot" 2> /dev/null; then
    kill -TERM "$boot" 2> /dev/null || true
    wait "$boot" 2> /dev/null || true
  fi
  rm -rf "$work"
}
trap finish EXIT

# make_package PRESET: its path is then in $package.
make_package() {
  tests/install debootstrap systemd-container docker-registry dpkg-dev fakeroot
  say "build"
  tests/build "$1" transship transship_documentation
  (cd "build/$1" && rm -f ./*.deb && cpack -G DEB > "$work/cpack.log" 2>&1) || { cat "$work/cpack.log" >&2; die cpack; }
  package=$(ls "build/$1"/transship_*.deb)
  cp "$package" "$overlay/transship.deb"
}

# run_inside MINUTES ROOT: boots Debian 12, made in ROOT unless it is there, and ends with what $overlay/steps ended with there.
run_inside() {
  local root=${2:-$work/root}
  if [ ! -x "$root/usr/bin/systemctl" ]; then
    say "a Debian 12"
    debootstrap --variant=minbase \
      --include=systemd,systemd-sysv,dbus,init-system-helpers,ca-certificates,curl,jq,docker-registry,prometheus,man-db \
      bookworm "$root" > "$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2; die debootstrap; }
  fi
  chmod +x "$overlay/steps"
  cat > "$overlay/transship-steps.service" << 'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c '/transship/steps > /transship/log 2>&1; echo $? > /transship/code; systemctl poweroff'
UNIT
  say "boot"
  # Its own file system, thrown away after; the host's network, for the packages that ours depends on.
  timeout "$(($1 * 60))" systemd-nspawn --quiet --register=no --keep-unit --directory="$root" --volatile=overlay --machine="$machine" \
    --bind="$overlay:/transship" --resolv-conf=bind-host --setenv=SYSTEMD_LOG_LEVEL=warning \
    --bind-ro="$overlay/transship-steps.service:/etc/systemd/system/transship-steps.service" \
    -b systemd.wants=transship-steps.service systemd.mask=docker-registry.service systemd.mask=prometheus.service \
    > "$work/boot.log" 2>&1 &
  boot=$!
  : > "$overlay/log"
  tail -n +1 -f --pid="$boot" "$overlay/log"
  wait "$boot" || true
  boot=
  [ -s "$overlay/log" ] || { tail -n 30 "$work/boot.log" >&2; die "it did not boot"; }
  [ "$(cat "$overlay/code" 2> /dev/null)" = 0 ] || die "see above"
}

# What both kinds of steps know. Inside: its words are expected to end with 0, at once or within half a minute.
cat > "$overlay/words" << 'WORDS'
export DEBIAN_FRONTEND=noninteractive
expect() { "$@" || { echo "FAILED: $*"; exit 1; }; }
eventually() {
  for _ in $(seq "${tenths:-300}"); do "$@" > /dev/null 2>&1 && return; sleep 0.1; done
  echo "FAILED: $*"
  systemctl status transship --no-pager || true
  journalctl -u transship --no-pager -n 30 || true
  exit 1
}
# start_registry PORT: where it is 5001 it tells the daemon of its pushes.
start_registry() {
  printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: /srv/r%s}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$1" "$1" > "/srv/r$1.yml"
  [ "$1" != 5001 ] || printf 'notifications: {endpoints: [{name: t, url: "http://127.0.0.1:9480/intake/us-east", timeout: 1s, threshold: 10, backoff: 1s}]}\n' >> "/srv/r$1.yml"
  systemd-run -q --collect --unit="registry-$1" docker-registry serve "/srv/r$1.yml"
}
manifest_type=application/vnd.oci.image.manifest.v1+json
# push TAG TEXT: team/app:TAG, an image without layers whose configuration holds the text, to the registry on 5001.
push() {
  local config place
  printf '{"text":"%s"}' "$2" > /tmp/config
  config=sha256:$(sha256sum /tmp/config | cut -d' ' -f1)
  place=$(curl -fsSi -X POST http://127.0.0.1:5001/v2/team/app/blobs/uploads/ | tr -d '\r' | sed -n 's/^location: //Ip')
  curl -fsS -X PUT --data-binary @/tmp/config -H 'Content-Type: application/octet-stream' "$place&digest=$config"
  printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%s},"layers":[]}' \
    "$manifest_type" "$config" "$(stat -c %s /tmp/config)" |
    curl -fsS -X PUT --data-binary @- -H "Content-Type: $manifest_type" "http://127.0.0.1:5001/v2/team/app/manifests/$1"
}
digest() { curl -fsSI -H "Accept: $manifest_type" "http://127.0.0.1:$1/v2/team/app/manifests/$2" | tr -d '\r' | sed -n 's/^docker-content-digest: //Ip'; }
same() { [ -n "$(digest 5001 "$1")" ] && [ "$(digest 5001 "$1")" = "$(digest 5002 "$1")" ]; }
WORDS
