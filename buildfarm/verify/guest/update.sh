# update.sh: read all indexes anew.
export LC_ALL=C
exec apt-get --quiet update
