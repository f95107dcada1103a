# Sourced by scripts/demo, scripts/test and scripts/bench: says and installs what is missing. Packages stay; nothing
# else does. Needs root, Debian (or its like) and Node 20.19 or newer.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '\033[1m== %s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2; exit 1; }

need_root() {
  [ "$(id -u)" = 0 ] || die "this needs root: it mounts file systems" "sudo $0"
}

need_node() {
  command -v node >/dev/null || die "node is missing" "install Node 20.19 or newer, with npm"
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    die "node $(node --version) is too old, want 20.19 or newer"
  command -v npm >/dev/null || die "npm is missing" "install Node 20.19 or newer, with npm"
}

# need_packages NAME...: Debian packages, installed without starting their services.
need_packages() {
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "these packages are missing: ${missing[*]}" "install them by hand: there is no apt-get here"
  say "installing ${missing[*]}"
  # Debian starts a service as it installs it, unless this file says no.
  local policy=/usr/sbin/policy-rc.d ours=0
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    ours=1
  fi
  local status=0
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null || status=$?
  [ $ours = 0 ] || rm -f "$policy"
  [ $status = 0 ] || die "apt-get could not install ${missing[*]}" "see its messages above"
}

# npm packages as the lock file says, then the program in dist/.
need_program() {
  if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    say "installing npm packages"
    npm ci --no-audit --no-fund --loglevel=error
    touch node_modules/.package-lock.json
  fi
  say "building dist/secretsfs.mjs"
  node scripts/build.mjs
}

# moto_server, the AWS protocol for tests: as found, else from pip into a virtual environment under build/.
need_moto() {
  command -v moto_server >/dev/null && return 0
  local venv="$root/build/moto"
  if [ ! -x "$venv/bin/moto_server" ]; then
    say "installing moto_server with pip"
    need_packages python3-venv
    { python3 -m venv "$venv" && "$venv/bin/pip" install -q 'moto[server]==5.2.1'; } ||
      die "moto_server is missing and pip could not install it" "pip install 'moto[server]==5.2.1', with moto_server in PATH"
  fi
  export PATH="$venv/bin:$PATH"
}

# other_node MAJOR: the node binary of that major version, from npm.
other_node() {
  local cpu directory="$root/build/node-$1"
  case $(uname -m) in x86_64) cpu=x64 ;; aarch64) cpu=arm64 ;; *) die "no node package for $(uname -m)" ;; esac
  if [ ! -x "$directory/node_modules/node-linux-$cpu/bin/node" ]; then
    mkdir -p "$directory"
    [ -e "$directory/package.json" ] || echo '{"private": true}' >"$directory/package.json"
    npm install --prefix "$directory" --no-audit --no-fund --loglevel=error "node-linux-$cpu@$1" >&2
  fi
  printf '%s\n' "$directory/node_modules/node-linux-$cpu/bin/node"
}
