#!/usr/bin/env bash
# A client with a large upload asks first: it sends `Expect: 100-continue`, and the body when the server says 100. A
# proxy hands the question on, or says no by itself (RFC 9110, 10.1.1). The server here says 100 at once.
#
# Guess: behind each proxy, the client gets 100 at once, from the server or from the proxy.
# Seen: behind Squid it does. Behind Tinyproxy, Privoxy and proxy.py, no answer comes before the body has been sent.
# So the client waits for the proxy, and the proxy for the client, until the client loses patience and sends the body
# all the same (curl does so after a second). The 100 arrives after that, too late to be of use.
#
# For Debian 12, as any user.
set -euo pipefail
temporary=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$temporary"' EXIT
chmod 755 "$temporary"
cd "$temporary"
packages=(
  tinyproxy-bin=1.11.1-2.1+deb12u1 privoxy=3.0.34-1 libmbedtls14 libmbedcrypto7 libmbedx509-1 libpcre3
  squid=5.7-2+deb12u6 squid-common=5.7-2+deb12u6 squid-langpack libecap3 libltdl7 libtdb1 libnetfilter-conntrack3
  libnfnetlink0 libmnl0 libldap-2.5-0 libsasl2-2
)
apt-get download -qq -o APT::Sandbox::User="$(id -un)" "${packages[@]}"
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv venv
venv/bin/pip install -q proxy.py==2.4.10
library=$(uname -m)-linux-gnu
export LD_LIBRARY_PATH=$temporary/root/usr/lib/$library:$temporary/root/lib/$library

printf '%s\n' "Port 3128" "Listen 127.10.0.1" "Allow 127.0.0.0/8" "LogLevel Critical" >tinyproxy.conf
root/usr/bin/tinyproxy -d -c tinyproxy.conf >/dev/null 2>&1 &
printf '%s\n' "listen-address 127.10.0.2:3128" "confdir root/etc/privoxy" "logdir ." >privoxy.conf
root/usr/sbin/privoxy --no-daemon privoxy.conf >/dev/null 2>&1 &
venv/bin/proxy --hostname 127.10.0.3 --port 3128 --log-level ERROR --data-dir proxy.py >/dev/null 2>&1 &
printf '%s\n' "http_port 127.10.0.4:3128" "pid_filename none" "cache_log /dev/null" "access_log none" \
  "pinger_enable off" "shutdown_lifetime 0 seconds" "visible_hostname squid" "netdb_filename none" \
  "mime_table $temporary/root/usr/share/squid/mime.conf" "icon_directory $temporary/root/usr/share/squid/icons" \
  "unlinkd_program $temporary/root/usr/lib/squid/unlinkd" \
  "error_directory $temporary/root/usr/share/squid-langpack/templates" "http_access allow all" >squid.conf
root/usr/sbin/squid -N -f squid.conf >/dev/null 2>&1 &

python3 - <<'PYTHON'
import http.server, socket, subprocess, sys, threading, time

PATIENCE = 3  # seconds
PROXIES = {
    "tinyproxy": ("127.10.0.1", ["root/usr/bin/tinyproxy", "-v"]),
    "privoxy": ("127.10.0.2", ["root/usr/sbin/privoxy", "--version"]),
    "proxy.py": ("127.10.0.3", ["venv/bin/proxy", "--version"]),
    "squid": ("127.10.0.4", ["root/usr/sbin/squid", "-v"]),
}

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):  # 100 has been said
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if body == b"content" else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
host = f"127.0.0.1:{server.server_address[1]}"

def connect(address):
    for _ in range(200):
        try:
            return socket.create_connection((address, 3128))
        except OSError:
            time.sleep(0.1)
    sys.exit(f"Nobody listens at {address}.")

def read_status(answers):
    """Returns the status of the next answer, and reads its header."""
    status = answers.readline().split()[1].decode()
    while answers.readline().strip():
        pass
    return status

changed = False
for name, (address, ask_version) in PROXIES.items():
    ran = subprocess.run(ask_version, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    version = ran.stdout.splitlines()[0]
    client = connect(address)
    head = f"PUT http://{host}/ HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n"
    client.sendall(head.encode())
    client.settimeout(PATIENCE)
    try:
        client.recv(1, socket.MSG_PEEK)
        early = True
    except TimeoutError:
        early = False
    client.settimeout(20)
    answers = client.makefile("rb")
    statuses = [read_status(answers)] if early else []
    client.sendall(b"content")
    while not statuses or statuses[-1] == "100":
        statuses.append(read_status(answers))
    when = "at once" if early else f"not within {PATIENCE} s"
    print(f"{name} ({version}): an answer {when}; all answers: {', '.join(statuses)}")
    changed |= early != (name == "squid") or statuses != ["100", "200"]
if changed:
    sys.exit("The behaviour has changed.")
PYTHON
