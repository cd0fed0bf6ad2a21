#!/bin/sh
# The guest's init: mounts what tests need, runs /jobs and powers off. What it
# says of jobs goes to the virtio port, on lines that begin with \001.
export PATH=/bin HOME=/tmp

# A guest that is not as it should be runs no job.
die() {
	echo "init: $*" >/dev/console
	busybox poweroff -f
}

fs() {
	busybox mkdir -p "$4"
	busybox mount -t "$1" -o "$2" "$3" "$4" || die "cannot mount $4"
}

fs devtmpfs rw dev /dev
fs proc rw proc /proc
busybox --install -s /bin
fs sysfs rw sys /sys
# Of kernels that have not built in what the guest is made of.
for module in /modules/*.ko; do
	[ ! -e "$module" ] || busybox insmod "$module" || die "cannot load $module"
done
# The kernel makes variables of arguments that it does not know.
# shellcheck disable=SC2154
[ -z "$lru_gen" ] || echo "$lru_gen" >/sys/kernel/mm/lru_gen/enabled || die "cannot enable MGLRU"
fs debugfs rw debug /sys/kernel/debug
fs tracefs rw trace /sys/kernel/tracing
fs bpf rw bpf /sys/fs/bpf
fs cgroup2 rw cgroup /sys/fs/cgroup
fs tmpfs rw tmp /tmp
fs tmpfs rw shm /dev/shm
# The lazy initialization of inode tables would be work in the background.
fs ext4 noatime,noinit_itable /dev/vda /data
mkdir -p /dev/pts && mount -t devpts pts /dev/pts
echo '+memory +cpuset' >/sys/fs/cgroup/cgroup.subtree_control || die "no memory and cpuset controllers"
ip link set lo up

# Only one process can open the port; what it starts inherits it.
exec 3>/dev/vport0p1 || die "no port to the host"
printf '\001init\n' >&3

job() {
	name=$1 dir=$2
	shift 2
	printf '\001begin %s\n' "$name" >&3
	(cd "$dir" && exec "$@") >&3 2>&1 3>&- </dev/null
	printf '\001end %s %d\n' "$name" $? >&3
}

# shellcheck source=/dev/null
. /jobs

exec 3>&-
sync
poweroff -f
