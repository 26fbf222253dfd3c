# remove.sh NAME...: remove packages, then purge them, and tell what is left of them. What came with them stays: that
# is apt's to decide (autoremove), and another package's.
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
began=/var/lib/buildfarm/began configured=/var/lib/buildfarm/configured
# What their dependencies made when these were set up is not theirs: it is older than their own setting up.
first=$(for name; do grep --extended-regexp --max-count=1 " configure $name(:| )" /var/log/dpkg.log; done | sort | head -n 1)
touch --date="$(printf '%s' "$first" | cut -d ' ' -f 1,2)" "$configured" 2>/dev/null || cp --preserve=timestamps "$began" "$configured"
echo '== remove'
apt-get --quiet --yes -o Dpkg::Use-Pty=0 remove "$@" </dev/null || exit
echo '== purge'
apt-get --quiet --yes -o Dpkg::Use-Pty=0 purge "$@" </dev/null || exit
echo '== installed'
dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Abbrev}\n'
echo '== left'
# Files that belong to no package, but where the system itself keeps what it does.
cat /var/lib/dpkg/info/*.list >/run/buildfarm-owned
find / -xdev \( -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/systemd \
    -o -path /var/lib/buildfarm -o -path /var/lib/ucf -o -path /tmp -o -path /var/tmp -o -path /root \
    -o -path /proc -o -path /sys -o -path /dev -o -path /run \) -prune \
    -o -cnewer "$configured" ! -type d -print |
    awk 'NR == FNR { own[$0] = own["/usr" $0] = 1; next } !($0 in own)' /run/buildfarm-owned - |
    cut -c 1-400 | head -n 100
echo '== end'
