#!/bin/sh
# In the guest: two processes in memcgs of their own, each with memory it uses
# often, now and then, and never; a memcached that is filled and then read; and
# the exporter on the port given.
port=$1
root=/sys/fs/cgroup/demo
mkdir $root
echo +memory >$root/cgroup.subtree_control

# Runs the workload in a memcg of that name, with the commands from stdin.
workload_in() {
	mkdir "$root/$1"
	# shellcheck disable=SC2016 # for the inner shell
	sh -c 'echo $$ >"$0/cgroup.procs" && exec workload' "$root/$1" >/dev/null
}

# shop: hot anonymous memory on node 0, cold on node 1, and a file of which every
# third page is read.
{
	echo map index kind=anon size=33554432 node=0
	echo map history kind=anon size=67108864 node=1
	echo map catalog kind=file size=33554432 node=1 path=/data/catalog
	echo comm shop
	while sleep 1; do
		echo touch index 0 1 8192
		echo touch catalog 0 3 2730
	done
} | workload_in shop &

# cache: huge pages, half of them in use, and shared memory touched once in a while.
{
	echo map slabs kind=thp size=67108864 node=0
	echo map queue kind=shmem size=16777216 node=1 path=/dev/shm/queue
	echo comm cache
	n=0
	while sleep 1; do
		echo touch slabs 0 512 16
		n=$((n + 1))
		[ $((n % 18)) -ne 0 ] || echo touch queue 0 1 4096 write
	done
} | workload_in cache &

# memcached, as before 1.5: without threads that go over what nobody reads; and with
# a hash table in which few values share a bucket, as who looks for one passes them.
# It and its load share a CPU: the kernel does not flush the TLB when it clears an
# accessed bit, but going from one process to another does.
mkdir $root/memcached
# shellcheck disable=SC2016 # for the inner shell
sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' $root/memcached \
	taskset 2 memcached -u root -s /tmp/memcached.sock -t 1 -m 256 -o no_modern,hashpower=20 &
(
	until wget -q -O /dev/null "http://127.0.0.1:$port/-/ready" 2>/dev/null; do sleep 1; done
	exec taskset 2 cacheload -socket /tmp/memcached.sock
) &

exec /mglru_exporter --config.file=/etc/mglru_exporter.yml --web.listen-address=":$port"
