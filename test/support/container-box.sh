#!/bin/sh
# What an engine of containers finds, in mount and pid namespaces of its own, which receive the machine's mounts and pass none on:
# DIRECTORY/root is ROOT with changes in memory, /run is empty, control groups are of version 2 alone, and GROUP is the engine's.
#
#   container-box.sh DIRECTORY ROOT GROUP COMMAND...
set -eu
directory=$1 lower=$2 group=/sys/fs/cgroup/$3
shift 3
mount -t tmpfs -o mode=755 tmpfs "$directory"
cd "$directory"
mkdir upper work root
mount -t overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" overlay root
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "$group"
# 0 is who writes it.
echo 0 >"$group/cgroup.procs"
exec "$@"
