#!/bin/sh
# Installs secretsfs from this directory, upgrades it, or removes it, where there is no package manager for it.
#
#   ./install.sh                          installs or upgrades; mounts that run stay up
#   ./install.sh --root DIR               into the tree DIR (for a package of your own, as secretsfs.spec); runs nothing there
#   ./install.sh --uninstall [--purge]    unmounts, and removes what was installed; --purge: what it made by itself, too
set -eu

die() { echo "error: $1" >&2; [ -z "${2:-}" ] || echo "hint: $2" >&2; exit 1; }

from=$(cd "$(dirname "$0")" && pwd)
root= uninstall= purge=remove
while [ $# -gt 0 ]; do
  case $1 in
    --root) root=${2:?a directory after --root}; shift ;;
    --uninstall) uninstall=1 ;;
    --purge) purge=purge ;;
    *) die "there is no option $1" "see the head of $0" ;;
  esac
  shift
done
[ $purge = remove ] || [ -n "$uninstall" ] || die "--purge goes with --uninstall"
[ -z "$root" ] || [ -z "$uninstall" ] || die "--root does not go with --uninstall" "remove the directory"
[ -n "$root" ] || [ "$(id -u)" = 0 ] || die "this needs root" "sudo $0"
# What a package manager installed is its own.
if [ -z "$root" ] && [ -e /usr/bin/secretsfs ] && [ ! -e /usr/lib/secretsfs/manifest ]; then
  die "secretsfs was installed in another way" "remove it that way: apt purge secretsfs, dnf remove secretsfs"
fi
manifest=$root/usr/lib/secretsfs/manifest

# remove_listed: what a list on standard input names, below $root; and directories (with a slash at their end) that are empty then.
remove_listed() {
  LC_ALL=C sort -r | while IFS= read -r name; do
    target=$root${name%/}
    case $name in
      */) [ -L "$target" ] || rmdir --ignore-fail-on-non-empty "$target" 2>/dev/null || true ;;
      ?*) rm -f "$target" ;;
    esac
  done
}

if [ -n "$uninstall" ]; then
  [ -e "$manifest" ] || die "secretsfs is not installed"
  /usr/lib/secretsfs/before-remove
  list=$(cat "$manifest")
  printf '%s\n' "$list" | remove_listed
  exec sh "$from/after-remove" $purge
fi

before=
[ ! -e "$manifest" ] || before=$(cat "$manifest")
# Each file is whole before it is there: what runs may start any of them at any time. It is root's, whoever unpacked it.
(cd "$from/tree" && find . -mindepth 1 | LC_ALL=C sort) | while IFS= read -r name; do
  source=$from/tree/${name#./} target=$root/${name#./}
  if [ -d "$source" ] && [ ! -L "$source" ]; then
    [ -d "$target" ] || mkdir -p -m "$(stat -c %a "$source")" "$target"
  else
    cp -d --preserve=mode,timestamps "$source" "$target.secretsfs-new"
    mv -fT "$target.secretsfs-new" "$target"
  fi
done
# What only the version of before had.
printf '%s\n' "$before" | grep -vxFf "$manifest" | remove_listed
[ -n "$root" ] || /usr/lib/secretsfs/after-install
