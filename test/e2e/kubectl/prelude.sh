# shellcheck shell=sh disable=SC2034 # what is set here the batches use
# What the lines of the batches use. KUBECONFIG, NS (the own namespace) and NODE are set; the folder is a copy of objects/ of its own.
image=docker.io/rancher/mirrored-library-busybox:1.36.1

k() { kubectl -n "$NS" "$@"; }
f() { kubectl -n fixed "$@"; }

# until_said FILE TEXT waits until a command in the background has said something.
until_said() {
	for _ in $(seq 300); do
		if grep -q -- "$2" "$1" 2>/dev/null; then return; fi
		sleep 0.1
	done
	echo "never said: $2"
	return 1
}

# forward ARGUMENTS... starts a port-forward to port 8080; its number is $pf, the local port $port.
forward() {
	rm -f pf.out pf.err # the last one's, which is else read before the next one begins
	k port-forward "$@" :8080 >pf.out 2>pf.err &
	pf=$!
	until_said pf.out 127.0.0.1
	port=$(sed -n 's/.*127.0.0.1:\([0-9]*\) .*/\1/p' pf.out)
}

# forwarded ends it, and prints what it said.
forwarded() {
	kill "$pf" 2>/dev/null
	wait "$pf"
	cat pf.out pf.err
}

# ended NUMBER NAME says how a command in the background has ended, or that it has not, and then fails: an old kubectl does not see that a pod is gone.
ended() {
	for _ in $(seq 100); do
		if ! kill -0 "$1" 2>/dev/null; then
			wait "$1"
			echo "$2: $?"
			return
		fi
		sleep 0.1
	done
	echo "$2: still runs"
	kill "$1"
	wait "$1"
	return 1
}

# spdy runs a command of kubectl without WebSockets.
spdy() {
	export KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false KUBECTL_PORT_FORWARD_WEBSOCKETS=false
	"$@"
}

# in_order prints what kubectl says, and sorts the lines of kubectl 1.20, which tells the keys of a ConfigMap in no order.
in_order() {
	if kubectl version --client -o yaml | grep -q 'gitVersion: v1\.20\.'; then
		sort
	else
		cat
	fi
}

# terminal ROWS COLUMNS COMMAND runs a command on a terminal of that size, at which nobody types.
terminal() {
	rm -f nobody
	mkfifo nobody
	exec 9<>nobody
	script -qec "stty rows $1 cols $2; $3" /dev/null <&9
}
