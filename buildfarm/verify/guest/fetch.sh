# fetch.sh DIRECTORY URL...: fetch packages that no index has.
mkdir -p "$1" && cd "$1" || exit
shift
for url; do
    /usr/lib/apt/apt-helper download-file "$url" "${url##*/}" || exit
done
