# install.sh alone|all NAME...: install packages as a user would.
#
# "alone" first lets apt look at the added archive only, which it reads in a moment: that is enough where nothing but
# the packages named is to be installed (apt then has no choice to make), and they recommend nothing. Where it is not
# enough, and for "all", apt sees every archive.
export LC_ALL=C DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
how=$1
shift
file=/etc/apt/sources.list.d/buildfarm.sources
said=/run/buildfarm-apt
recommended() { # NAME...: whether one of them recommends anything, by the indexes that came last
    find /var/lib/apt/lists -name '*Packages' -newer /var/lib/buildfarm/began -exec cat {} + | awk -v RS= -v names=" $* " '
        { split($0, head, "\n"); name = substr(head[1], 10) }
        index(names, " " name " ") && /\nRecommends:/ { found = 1 }
        END { exit !found }'
}
if [ "$how" = alone ] && ! recommended "$@"; then
    : >"$said"
    apt-get --quiet --trivial-only -o Dpkg::Use-Pty=0 -o Dir::Etc::SourceList="$file" -o Dir::Etc::SourceParts=- \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= install "$@" </dev/null >"$said" 2>&1 &
    # Shown as it comes, should it hang; what the packages leave running may hold the file and keeps nobody.
    tail --follow --bytes=+1 --sleep-interval=0.1 --pid=$! "$said"
    wait $!
    status=$?
    grep --quiet --extended-regexp '^E: (Trivial Only|Unable to correct|Unable to locate|Unmet dep)' "$said" ||
        exit $status
    echo '# the archive alone is not enough: apt looks at all archives'
fi
exec apt-get --quiet --yes -o Dpkg::Use-Pty=0 install "$@" </dev/null
