# Run once by a fresh image as it boots the first time, as root: tells the build farm that it has. (Above stand
# machine= and token=.) Anything that can speak HTTP will do, and any shell.
host=10.0.2.100 port=80
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
say() { { echo "buildfarm: $*" >/dev/console || echo "buildfarm: $*"; } 2>/dev/null; }
has() { command -v "$1" >/dev/null 2>&1; }
note=$(uname -srm 2>/dev/null)

request() {
    printf 'POST /firstboot/booted HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\n' "$host" "$token"
    printf 'X-Buildfarm-Machine: %s\r\nContent-Length: %s\r\n\r\n%s' "$machine" "${#note}" "$note"
}

call() { # prints the answer's first line, or what came of it
    set -- "Authorization: Bearer $token" "X-Buildfarm-Machine: $machine" "http://$host:$port/firstboot/booted"
    if has curl; then
        curl --silent --max-time 60 --noproxy '*' --output /dev/null --write-out 'by curl: %{http_code}\n' \
            --header "$1" --header "$2" --data "$note" "$3" && return
    fi
    for wget in wget 'busybox wget'; do
        has ${wget%% *} && $wget -q -T 60 -O /dev/null --header "$1" --header "$2" --post-data "$note" "$3" &&
            echo "by $wget: 200" && return
    done
    for nc in nc netcat 'busybox nc'; do
        has ${nc%% *} && request | $nc -w 30 "$host" "$port" 2>/dev/null | head -n 1 | grep HTTP && return
    done
    if has bash; then
        # shellcheck disable=SC2016
        request | bash -c 'exec 3<>"/dev/tcp/$0/$1" && cat >&3 && head -n 1 <&3' "$host" "$port" 2>/dev/null && return
    fi
    if has perl; then
        # shellcheck disable=SC2016
        request | perl -MIO::Socket::INET -e '
            my $s = IO::Socket::INET->new(PeerAddr => shift, PeerPort => shift, Timeout => 30) or exit 1;
            print $s $_ while <STDIN>; $s->flush; print scalar <$s>' "$host" "$port" && return
    fi
    if has python3; then
        request | python3 -c 'import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)
s.sendall(sys.stdin.buffer.read())
print(s.makefile().readline())' "$host" "$port" && return
    fi
    return 1
}

connect() { # the network, where nothing else brought it up
    grep -q '^[^ ]*[[:space:]]00000000[[:space:]]' /proc/net/route 2>/dev/null && return
    card=$(sed -n 's/^ *\([^ :]*\):.*/\1/p' /proc/net/dev 2>/dev/null | grep -v '^lo$' | head -n 1)
    for ip in ip 'busybox ip'; do
        has ${ip%% *} && $ip link set "$card" up && $ip addr add 10.0.3.15/24 dev "$card" &&
            $ip route add default via 10.0.3.2 && say "$card was brought up" && return
    done
    has ifconfig && ifconfig "$card" 10.0.3.15 netmask 255.255.255.0 up && route add default gw 10.0.3.2 &&
        say "$card was brought up"
}

say "this machine has booted"
tries=0
while [ $((tries += 1)) -le 40 ]; do
    answer=$(call 2>/dev/null)
    case $answer in
        *200*) say "called $answer" && exit 0 ;;
        *' 403'* | *' 409'* | *' 410'*) say "refused: $answer" && exit 1 ;;
    esac
    [ "$tries" -lt 3 ] || connect 2>/dev/null
    sleep 3
done
say "nobody answers at $host"
exit 1
