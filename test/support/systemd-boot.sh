#!/bin/sh
# Debian's systemd as process 1 of a container, to be run in new mount, pid, uts, ipc and network namespaces: files below an
# overlay in memory, and a control group of its own.
#
#   systemd-boot.sh DIRECTORY / REPOSITORY   an empty directory; the machine's own files, and none of its units; the
#                                            repository is /opt/secretsfs there
#   systemd-boot.sh DIRECTORY ROOT           a tmpfs, which is kept for the next boot; the files and units of ROOT
set -eu
directory=$1 lower=$2 repository=${3-}
mount --make-rprivate /
mountpoint -q "$directory" || mount -t tmpfs -o mode=755 tmpfs "$directory"
cd "$directory"
mkdir -p upper work root
mount -t overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" overlay root
cd root
if [ -n "$repository" ]; then
  mkdir -p opt/secretsfs
  mount --bind "$repository" opt/secretsfs
fi
mount -t proc proc proc
# What belongs to the machine is not this systemd's to set.
mount --bind -o ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for name in null zero full random urandom tty fuse; do
  touch "dev/$name"
  mount --bind "/dev/$name" "dev/$name"
done
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
if [ -n "$repository" ]; then
  rm -rf etc/systemd/system
  mkdir -p etc/systemd/system
  printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >etc/systemd/system/test.target
  ln -s test.target etc/systemd/system/default.target
fi
mkdir tmp/machine
pivot_root . tmp/machine
cd /
umount -l /tmp/machine
rmdir /tmp/machine
group=/sys/fs/cgroup/secretsfs-test-${directory##*/}
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "$group"
# 0 is who writes it.
echo 0 >"$group/cgroup.procs"
umount /sys/fs/cgroup
exec unshare --cgroup /bin/sh -euc 'mount -t cgroup2 cgroup2 /sys/fs/cgroup
  exec env -i container=secretsfs-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --show-status=no --log-target=journal'
