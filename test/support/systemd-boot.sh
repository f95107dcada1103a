#!/bin/sh
# Debian's systemd as process 1 of a container, to be run in new mount, pid, uts, ipc and network namespaces: the machine's
# own files below an overlay in memory, none of the machine's own units, and a control group of its own.
#
#   systemd-boot.sh DIRECTORY REPOSITORY     an empty directory; the repository is /opt/secretsfs there
set -eu
directory=$1 repository=$2
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$directory"
cd "$directory"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
cd root
mkdir -p opt/secretsfs
mount --bind "$repository" opt/secretsfs
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
rm -rf etc/systemd/system
mkdir -p etc/systemd/system
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >etc/systemd/system/test.target
mkdir tmp/machine
pivot_root . tmp/machine
cd /
umount -l /tmp/machine
rmdir /tmp/machine
group=/sys/fs/cgroup/secretsfs-test-${directory##*/}
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "$group"
# 0 is who writes it.
echo 0 >"$group/cgroup.procs"
umount /sys/fs/cgroup
exec unshare --cgroup /bin/sh -euc 'mount -t cgroup2 cgroup2 /sys/fs/cgroup
  exec env -i container=secretsfs-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=test.target --show-status=no --log-target=journal'
