#!/usr/bin/env bash
# Boot this machine's own files with systemd as the first process, in namespaces of their own, until standard input
# ends, as it does with whoever started us: then all of it is gone, processes, mounts and control groups. What is
# written there is in memory; nothing here changes.
#
#   boot_systemd.sh NAME SCRATCH      as root, from booted.py
#
# NAME:     of a new control group below ours
# SCRATCH:  a folder of our own; SCRATCH/files is laid over the machine's files, and SCRATCH/binds names the folders
#           that it has from elsewhere, as lines of SOURCE<tab>TARGET
set -euo pipefail
export NAME=$1 SCRATCH=$2
group=$(findmnt -n -t cgroup2 -o TARGET | head -1)$(sed -n 's/^0:://p' /proc/self/cgroup)/$NAME

become_the_machine() {
    local root=$SCRATCH/root memory=$SCRATCH/memory folder node source target
    mkdir "$root" "$memory"
    mount -t tmpfs -o size=8g tmpfs "$memory"    # a limit, not a claim: jobs wait where too little is free
    mkdir "$memory/changes" "$memory/work"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$memory/changes,workdir=$memory/work" "$root"
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

    # No mounts and no name of its own yet, and none of the services that are enabled here.
    rm -rf "$root"/etc/systemd/system/*.wants "$root/etc/machine-id" "$root/etc/fstab"
    touch "$root/etc/machine-id" "$root/etc/fstab"

    chmod -R a+rX "$SCRATCH/files"
    cp -a "$SCRATCH/files/." "$root"
    while IFS=$'\t' read -r source target; do
        mkdir -p "$root$target"
        mount --rbind "$source" "$root$target"
    done <"$SCRATCH/binds"

    cd "$root"
    mkdir .old
    pivot_root . .old
    cd /
    umount -l .old
    mount --make-rshared /    # systemd leaves that to the container; else no service sees a share mounted later
    exec env -i container="$NAME" PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb /lib/systemd/systemd --system
}

switch_off() {
    exec 2>/dev/null    # bash tells of what was killed
    kill -KILL "$machine" "$reader" || true
    wait "$machine" "$reader" || true
    while grep -qs "populated 1" "$group/cgroup.events"; do sleep 0.05; done
    find "$group" -depth -type d -exec rmdir {} +
}

# The machine's first process ends with `unshare`, and all others with the first; `unshare` ends with this script.
# The new group is entered before a namespace is made of it: systemd takes all processes that it finds in the root of
# its namespace for its own, and in ours these would be everybody's.
mkdir "$group"
(
    echo "$BASHPID" >"$group/cgroup.procs"
    exec setpriv --pdeathsig KILL \
        unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup --propagation private \
        bash -euo pipefail -c "$(declare -f become_the_machine); become_the_machine"
) &
machine=$!
exec 3<&0
cat <&3 >/dev/null &
reader=$!
trap switch_off EXIT
wait -n    # for either: with the machine's status, if it could not be booted
