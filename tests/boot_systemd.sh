#!/usr/bin/env bash
# Boot this machine's own files with systemd as the first process, in namespaces of their own, until this script is
# killed: then all of it is gone, processes and mounts. What is written there is in memory; nothing here changes.
#
#   boot_systemd.sh NAME SCRATCH      as root; booted.py prepares both and cleans up
#
# NAME:     of a new control group below ours
# SCRATCH:  a folder of our own; in SCRATCH/etc, SCRATCH/opt and so on is what the booted machine has beyond this one,
#           and in SCRATCH/binds the folders it has from elsewhere, as lines of SOURCE<tab>TARGET
set -euo pipefail
export NAME=$1 SCRATCH=$2

# The new group is entered before the namespace is made of it: systemd takes all processes that it finds in the root
# of its namespace for its own, and in ours these would be everybody's.
mine=$(sed -n 's/^0:://p' /proc/self/cgroup)
group=$(findmnt -n -t cgroup2 -o TARGET | head -1)$mine/$NAME
mkdir -p "$group"
echo $$ >"$group/cgroup.procs"

# The first process ends with `unshare`, and all others with the first; `unshare` ends with whoever started us.
exec setpriv --pdeathsig KILL \
    unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup --propagation private bash -euo pipefail -c '
root=$SCRATCH/root
mkdir -p "$root" "$SCRATCH/memory"
mount -t tmpfs -o size=8g tmpfs "$SCRATCH/memory"  # a limit, not a claim; jobs want some free
mkdir "$SCRATCH/memory/changes" "$SCRATCH/memory/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$SCRATCH/memory/changes,workdir=$SCRATCH/memory/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for folder in run dev tmp; do mount -t tmpfs -o mode=755 tmpfs "$root/$folder"; done
chmod 1777 "$root/tmp"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"

# A machine of its own: no mounts, no name, none of the services that are enabled here.
rm -rf "$root"/etc/systemd/system/*.wants "$root/etc/machine-id" "$root/etc/fstab"
touch "$root/etc/machine-id" "$root/etc/fstab"

cp -a "$SCRATCH/files/." "$root"
while IFS=$'"'\t'"' read -r source target; do
    mkdir -p "$root$target"
    mount --rbind "$source" "$root$target"
done <"$SCRATCH/binds"

cd "$root"
mkdir .old
pivot_root . .old
cd /
umount -l .old
mount --make-rshared /  # systemd leaves that to the container; without it a share mounted later is seen by no service
exec env -i container="$NAME" PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb /lib/systemd/systemd --system'
