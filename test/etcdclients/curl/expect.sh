# What the scripts beside this one share. $NODE is where a member serves clients, $NAME begins all keys of the script.
set -eu

: "${NODE:?the URL of a member, such as http://127.0.0.1:2379}" "${NAME:=curl-$$}"

# call METHOD PATH [BODY] [more for curl]: the answer's status and body, in one line.
call() {
	method=$1 path=$2
	shift 2
	if [ $# -gt 0 ]; then
		body=$1
		shift
		curl -sS --max-time 30 -X "$method" --data-binary "$body" "$@" -w ' %{http_code}' "$NODE$path" | tr -d '\n'
	else
		curl -sS --max-time 30 -X "$method" -w ' %{http_code}' "$NODE$path" | tr -d '\n'
	fi
}

# expect PATTERN ANSWER: the answer matches the shell's pattern.
expect() {
	# shellcheck disable=SC2254 # a pattern is what it is
	case $2 in
	$1) ;;
	*)
		echo "expected $1" >&2
		echo "but got  $2" >&2
		exit 1
		;;
	esac
}

in64() { printf %s "$1" | base64 -w0; }

# eventually FILE TEXT: the text comes into the file within a minute.
eventually() {
	tries=0
	until grep -qF -- "$2" "$1"; do
		tries=$((tries + 1))
		if [ "$tries" -gt 600 ]; then
			echo "never: $2, but" >&2
			cat "$1" >&2
			exit 1
		fi
		sleep 0.1
	done
}
