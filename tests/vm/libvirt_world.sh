#!/bin/sh
# A world with a libvirtd of its own, and nothing of this machine's: DIRECTORY UID COMMAND...
# For UID 0 the daemon is the system's; for another it is that user's session. To be run in namespaces of its own
# (`unshare --mount --pid --fork --mount-proc`): what it leaves goes with them.
set -eu
where=$1 uid=$2
shift 2
mkdir -p "$where/etc" "$where/home/run"
cp /etc/passwd /etc/group "$where/etc/"
# Debian's libvirtd does not start without its user, whoever runs the machines.
grep -q '^libvirt-qemu:' "$where/etc/passwd" || echo 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin' >>"$where/etc/passwd"
grep -q '^libvirt-qemu:' "$where/etc/group" || echo 'libvirt-qemu:x:64055:' >>"$where/etc/group"
# And a session has to be somebody's.
if [ "$uid" != 0 ]; then
    echo "session:x:$uid:$uid::$where/home:/bin/sh" >>"$where/etc/passwd"
    echo "session:x:$uid:" >>"$where/etc/group"
fi
mount --bind "$where/etc/passwd" /etc/passwd
mount --bind "$where/etc/group" /etc/group
for place in /etc/libvirt /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    mkdir -p "$place"
    mount -t tmpfs -o mode=755 tmpfs "$place"
done
printf 'stdio_handler = "file"\ncgroup_controllers = []\n' >/etc/libvirt/qemu.conf
chown -R "$uid" "$where/home"
chmod 700 "$where/home/run"
export HOME="$where/home" XDG_RUNTIME_DIR="$where/home/run" TMPDIR="$where/home"
as="setpriv --reuid=$uid --regid=$uid --clear-groups --"
cd /
$as libvirtd >"$where/home/libvirtd.log" 2>&1 &
daemon=$!
status=0
(cd "$OLDPWD" && $as "$@") || status=$?
kill "$daemon"
wait "$daemon" || true
exit "$status"
