# collect.sh FILES BYTES PATH...: regular files below the paths, as a tar stream. Links are not followed, nor are other
# file systems entered; of files larger than BYTES only the names are told.
export LC_ALL=C
files=$1 bytes=$2
shift 2
for path; do [ -e "$path" ] || echo "# not there: $path" >&2; done
find "$@" -xdev -type f -size "+${bytes}c" -printf '# too large to be brought home: %p\n' 2>/dev/null | head -n 20 >&2
find "$@" -xdev -type f ! -size "+${bytes}c" -print0 2>/dev/null | head --zero-terminated --lines="$files" |
    tar --create --format=gnu --no-recursion --null --files-from=- --ignore-failed-read --warning=none
