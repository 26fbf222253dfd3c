# nested-look.sh PLACE OFFSET BYTES: what the nested machine's console said since; exits 1 once that machine is gone.
tail --bytes="+$(($2 + 1))" "$1/console" | head --bytes="$3"
case $(systemctl is-active buildfarm-nested.service) in active | activating) ;; *) exit 1 ;; esac
