# add-archive.sh SOURCES: add an archive by its .sources file, as its page tells users, and read its indexes.
export LC_ALL=C
file=/etc/apt/sources.list.d/buildfarm.sources
printf '%s' "$1" >"$file"
exec apt-get --quiet update --error-on=any -o Dir::Etc::SourceList="$file" -o Dir::Etc::SourceParts=- \
    -o APT::Get::List-Cleanup=0 -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
