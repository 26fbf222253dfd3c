# before.sh NAME...: what the machine has, and what its distribution offers of these packages.
export LC_ALL=C
mkdir -p /var/lib/buildfarm
: >/var/lib/buildfarm/began
echo '== policy'
apt-cache policy "$@"
echo '== installed'
dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Abbrev}\n'
