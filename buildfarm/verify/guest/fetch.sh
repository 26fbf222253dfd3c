# fetch.sh URL...: fetch packages that no index has; prints the files' names last.
mkdir -p /var/tmp/buildfarm && cd /var/tmp/buildfarm || exit
for url; do
    /usr/lib/apt/apt-helper download-file "$url" "${url##*/}" || exit
done
printf '%s\n' /var/tmp/buildfarm/*.deb
