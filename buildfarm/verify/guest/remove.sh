# remove.sh NAME...: remove packages, then purge them and what came with them, and tell what is left.
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
echo '== remove'
apt-get --quiet --yes -o Dpkg::Use-Pty=0 remove "$@" </dev/null || exit
echo '== purge'
apt-get --quiet --yes -o Dpkg::Use-Pty=0 purge "$@" </dev/null || exit
apt-get --quiet --yes -o Dpkg::Use-Pty=0 autoremove --purge </dev/null || exit
echo '== installed'
dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Abbrev}\n'
echo '== left'
# Files made or changed since the machine was given to the package, but where the system itself keeps what it does.
find / -xdev \( -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/systemd \
    -o -path /var/lib/buildfarm -o -path /var/lib/ucf -o -path /tmp -o -path /var/tmp -o -path /root \
    -o -path /proc -o -path /sys -o -path /dev -o -path /run \) -prune \
    -o -cnewer /run/buildfarm-began ! -type d -print | cut -c 1-400 | head -n 100
echo '== end'
