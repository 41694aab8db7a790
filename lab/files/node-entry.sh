#!/bin/sh
# First process of a lab node: prepares what a booting machine would find, then becomes systemd.
set -eu

for path in /sys/fs/cgroup /sys/fs/cgroup/*; do
    if mountpoint -q "$path"; then mount -o remount,bind,rw "$path" 2>/dev/null || true; fi
done
mount --make-rshared / 2>/dev/null || true
[ -e /dev/kmsg ] || ln -s /dev/console /dev/kmsg

# The host's swap is the host's: a node must neither see nor switch it off.
if [ "$(wc -l </proc/swaps)" -gt 1 ]; then
    head -n 1 /proc/swaps >/run/no-swaps
    mount --bind /run/no-swaps /proc/swaps || true
fi

# No name of a machine resolves, not even its own, as in many clouds. Docker mounts the file: it can be written, but not replaced.
hosts=$(grep -v "[[:space:]]$(cat /proc/sys/kernel/hostname)\$" /etc/hosts)
printf '%s\n' "$hosts" >/etc/hosts

# A resolver that is no loopback address, or CoreDNS would forward to itself.
printf 'nameserver %s\noptions timeout:1 attempts:1\n' "$LAB_GATEWAY" >/etc/resolv.conf

# Service addresses need a route to look up; behind this one is a container that forwards nothing.
ip route replace default via "$LAB_GATEWAY"

if [ ! -s /etc/machine-id ]; then tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id; fi
ssh-keygen -A >/dev/null
install -d -m 0700 -o ops -g ops /home/ops/.ssh
printf '%s\n' "$LAB_AUTHORIZED_KEY" >/home/ops/.ssh/authorized_keys
chown ops:ops /home/ops/.ssh/authorized_keys
chmod 0600 /home/ops/.ssh/authorized_keys

unset LAB_AUTHORIZED_KEY LAB_GATEWAY
export container=docker
exec /sbin/init
