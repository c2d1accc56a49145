#!/usr/bin/env bash
# A proxy is asked for a tunnel (CONNECT) to a port where nobody listens.
#
# Guess: each proxy answers 502, 503 or 504, the statuses for what a gateway could not reach.
# Seen: Squid answers 503. Tinyproxy answers 500 "Unable to connect". A client that tries again for 502 to 504 alone
# gives up behind Tinyproxy, although the failure may pass; a client that takes 500 for an error of the server behind
# blames the wrong one. No header of Tinyproxy's answer tells the difference, but its `Server` and its reason do.
#
# For Debian 12, as any user.
set -euo pipefail
temporary=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$temporary"' EXIT
chmod 755 "$temporary"
cd "$temporary"
packages=(
  tinyproxy-bin=1.11.1-2.1+deb12u1 squid=5.7-2+deb12u6 squid-common=5.7-2+deb12u6 squid-langpack libecap3 libltdl7
  libtdb1 libnetfilter-conntrack3 libnfnetlink0 libmnl0 libldap-2.5-0 libsasl2-2
)
apt-get download -qq -o APT::Sandbox::User="$(id -un)" "${packages[@]}"
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$temporary/root/usr/lib/$(uname -m)-linux-gnu
tinyproxy=127.10.0.1 squid=127.10.0.2 # addresses of this machine's own
nobody=127.10.0.3:9

printf '%s\n' "Port 3128" "Listen $tinyproxy" "Allow 127.0.0.0/8" "LogLevel Critical" >tinyproxy.conf
root/usr/bin/tinyproxy -d -c tinyproxy.conf >/dev/null 2>&1 &
printf '%s\n' "http_port $squid:3128" "pid_filename none" "cache_log /dev/null" "access_log none" \
  "pinger_enable off" "shutdown_lifetime 0 seconds" "visible_hostname squid" "netdb_filename none" \
  "mime_table $temporary/root/usr/share/squid/mime.conf" "icon_directory $temporary/root/usr/share/squid/icons" \
  "unlinkd_program $temporary/root/usr/lib/squid/unlinkd" \
  "error_directory $temporary/root/usr/share/squid-langpack/templates" "http_access allow all" >squid.conf
root/usr/sbin/squid -N -f squid.conf >/dev/null 2>&1 &

status() { # ADDRESS: prints the status line of the answer
  python3 - "$1" "$nobody" <<'PYTHON'
import socket, sys, time

for _ in range(100):
    try:
        proxy = socket.create_connection((sys.argv[1], 3128))
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit("The proxy does not listen.")
proxy.sendall(f"CONNECT {sys.argv[2]} HTTP/1.1\r\nHost: {sys.argv[2]}\r\n\r\n".encode())
print(proxy.makefile().readline().strip())
PYTHON
}
by_tinyproxy=$(status "$tinyproxy")
by_squid=$(status "$squid")
echo "$(root/usr/bin/tinyproxy -v): $by_tinyproxy"
echo "$(root/usr/sbin/squid -v | head -n 1): $by_squid"
if [[ "$by_tinyproxy, $by_squid" != *" 500 Unable to connect, "*" 503 Service Unavailable" ]]; then
  echo "The behaviour has changed." >&2
  exit 1
fi
