# Prints the first id of a range of 65536 that touches none of those in /etc/subuid and /etc/subgid:
#     awk -f next-subid.awk /etc/subuid /etc/subgid
# Ranges begin where useradd's do, at 100000 (SUB_UID_MIN in login.defs).
BEGIN { FS = ":"; next_free = 100000 }
NF == 3 && $2 + $3 > next_free { next_free = $2 + $3 }
END { printf "%d\n", next_free }
