# shellcheck shell=sh
# Runs in a pod of busybox: sh -c SCRIPT sh PORT SIZES NAME. It serves a file of each size, and programs that act from inside
# the pod. What they are given is an address and a port, "ADDRESS,PORT", and checked: whoever reaches the pod could ask.
port=$1 sizes=$2 name=$3
mkdir -p /tmp/www/cgi-bin && cd /tmp/www || exit 1
echo ok >ok
for n in $sizes; do yes 0123456789abcde | head -c "$n" >"./$n"; done

program() { # program NAME: from standard input
	{
		echo '#!/bin/sh'
		echo "name=$name"
		cat <<'END'
printf 'Content-Type: text/plain\r\n\r\n'
case $QUERY_STRING in *[!0-9a-fA-F.:,]*) echo refused; exit ;; esac
to=${QUERY_STRING%,*} port=${QUERY_STRING##*,}
END
		cat
	} >"cgi-bin/$1" && chmod 755 "cgi-bin/$1"
}
program sum <<'END'
sha256sum
END
program tcp <<'END'
timeout 2 nc -w 2 "$to" "$port" </dev/null >/dev/null 2>&1 && echo ok || echo "no connection within 2 s"
END
program dns <<'END'
out=$(timeout 2 nslookup "$name" "$to" 2>&1) && echo ok || echo "no answer within 2 s:" $out | head -c 300
END
program page <<'END'
case $to in *:*) to="[$to]" ;; esac
out=$(timeout 2 wget -q -O - "http://$to:$port/ok" 2>&1) && echo "$out" || echo "no answer within 2 s"
END
exec httpd -f -p "$port" -h /tmp/www
