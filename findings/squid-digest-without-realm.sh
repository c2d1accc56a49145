#!/usr/bin/env bash
# Squid is set up for two schemes of authentication, Digest and Basic. Neither gets a `realm` line.
#
# Guess: both are offered, with a default realm, or the check of the configuration complains.
# Seen: Basic has a default realm, and Digest has none. The check (`-k parse`) is content, Squid starts, and offers
# Basic alone, without a word. With a realm for Digest, it offers both, Digest first.
#
# For Debian 12, as any user.
set -euo pipefail
temporary=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$temporary"' EXIT
chmod 755 "$temporary"
cd "$temporary"
packages=(
  squid=5.7-2+deb12u6 squid-common=5.7-2+deb12u6 squid-langpack libecap3 libltdl7 libtdb1 libnetfilter-conntrack3
  libnfnetlink0 libmnl0 libldap-2.5-0 libsasl2-2
)
apt-get download -qq -o APT::Sandbox::User="$(id -un)" "${packages[@]}"
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$temporary/root/usr/lib/$(uname -m)-linux-gnu
squid=$temporary/root/usr/sbin/squid
proxy=127.10.0.1 # an address of this machine's own

# offered LINE...: prints the schemes that Squid offers, with these lines added to its configuration.
offered() {
  printf '%s\n' "http_port $proxy:3128" "pid_filename none" "cache_log /dev/null" "access_log none" \
    "pinger_enable off" "shutdown_lifetime 0 seconds" "visible_hostname squid" "netdb_filename none" \
    "mime_table $temporary/root/usr/share/squid/mime.conf" "icon_directory $temporary/root/usr/share/squid/icons" \
    "unlinkd_program $temporary/root/usr/lib/squid/unlinkd" \
    "error_directory $temporary/root/usr/share/squid-langpack/templates" \
    "auth_param digest program /bin/cat" "auth_param basic program /bin/cat" "$@" \
    "acl known proxy_auth REQUIRED" "http_access allow known" >squid.conf
  "$squid" -k parse -f squid.conf >check 2>&1
  if grep -qE 'WARNING|ERROR|FATAL' check; then echo "the check complains;"; fi
  "$squid" -N -f squid.conf >/dev/null 2>&1 &
  python3 - "$proxy" <<'PYTHON'
import re, socket, sys, time

for _ in range(100):
    try:
        proxy = socket.create_connection((sys.argv[1], 3128))
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit("The proxy does not listen.")
proxy.sendall(b"CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1:443\r\n\r\n")
head = b""
while b"\r\n\r\n" not in head:
    head += proxy.recv(4096)
head = head.decode()
print(head.split()[1], *re.findall(r"Proxy-Authenticate: (\w+)", head))
PYTHON
  kill %%
  wait %% 2>/dev/null || true
}

"$squid" -v | head -n 1
without=$(offered)
with=$(offered "auth_param digest realm example")
echo "no realm for Digest: $without"
echo "a realm for Digest: $with"
if [[ "$without, $with" != "407 Basic, 407 Digest Basic" ]]; then
  echo "The behaviour has changed." >&2
  exit 1
fi
