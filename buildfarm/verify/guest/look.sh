# look.sh NAMES SERVICES: how the machine stands; each a list of words in one argument.
export LC_ALL=C
echo '== clock'
date +%s
echo '== versions'
# shellcheck disable=SC2086
dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Abbrev}\n' -- $1 2>/dev/null
echo '== audit'
dpkg --audit
echo '== failed'
systemctl --failed --no-legend --plain --no-pager
echo '== services'
for unit in $2; do printf '%s %s\n' "$unit" "$(systemctl is-active -- "$unit")"; done
echo '== cores'
[ ! -e /var/lib/buildfarm/cores ] || head -n 20 /var/lib/buildfarm/cores
echo '== end'
