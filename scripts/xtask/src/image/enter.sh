# Runs a command inside the builder root, with the source tree and the build folder at the same paths as outside.
# Called as `unshare --mount --pid --fork sh enter.sh ROOT TREE WORK COMMAND...`: WORK is written, TREE is only read.
# pivot_root rather than chroot, since mkosi's own sandbox pivots once more and that fails below a chroot.
set -eu
root=$1 tree=$2 work=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
# Names and authorities of this machine, for the package manager.
for file in /etc/resolv.conf /etc/hosts; do
    [ ! -e "$file" ] || cat "$file" > "$root$file"
done
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cat /etc/ssl/certs/ca-certificates.crt > "$root/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$root$tree"
mount --bind -o ro "$tree" "$root$tree"
mount --bind "$work" "$root$work"
cd "$root"
pivot_root . .
umount -l .
cd "$work"
exec "$@"
