#!/usr/bin/env bash
# The recursor of PowerDNS serves the names in a hosts file (`export-etc-hosts=yes`), and hands all else to another name
# server. The hosts file has a single line, an IPv4 address for host.example. The other server has an address for any
# name, and a mail server for host.example.
#
# Guess: host.example is answered from the file. The other server is asked for the names below it.
# Seen: the recursor makes a zone of its own out of each name in the file. For www.host.example, and whatever else is
# below host.example, it answers NXDOMAIN; for the mail server of host.example it answers "no record". It asks nobody.
# So a line for a company's bare domain hides all other hosts of the company.
#
# For Debian 12, as any user.
set -euo pipefail
temporary=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$temporary"' EXIT
cd "$temporary"
packages=(
  pdns-recursor=4.8.8-1+deb12u1 libboost-context1.74.0 libsnmp40 libluajit-5.1-2 libfstrm0 libwrap0 libperl5.36 libcurl4
  libsodium23 libnsl2 libtirpc3 libnghttp2-14 librtmp1 libssh2-1 libpsl5 libldap-2.5-0 libsasl2-2 libbrotli1 libssl3
  libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libkeyutils1
)
apt-get download -qq -o APT::Sandbox::User="$(id -un)" "${packages[@]}"
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$temporary/root/usr/lib/$(uname -m)-linux-gnu:$temporary/root/lib/$(uname -m)-linux-gnu
echo "192.0.2.7 host.example" >hosts
mkdir configuration
python3 - root/usr/sbin/pdns_recursor <<'PYTHON'
import os, socket, subprocess, sys, threading, time

A, MX = 1, 15
EXPECTED = {
    ("host.example", A): "192.0.2.7, not asked",
    ("www.host.example", A): "NXDOMAIN, not asked",
    ("a.b.host.example", A): "NXDOMAIN, not asked",
    ("host.example", MX): "no record, not asked",
    ("other.example", A): "192.0.2.100, asked",
}
ADDRESS = "127.10.0.1"  # one of this machine's own
DATA = {A: b"\xc0\0\2\x64", MX: b"\0\x0a\4mail\xc0\x0c"}

asked = set()
other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # the server behind the recursor
other.bind(("127.0.0.1", 0))

def serve():
    while True:
        question, asker = other.recvfrom(4096)
        end = question.index(0, 12) + 1
        kind = question[end + 1]
        asked.add((question[12:end].lower(), kind))
        data = DATA.get(kind)
        record = bytes([0xC0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, len(data)]) + data if data else b""
        head = question[:2] + bytes([0x81, 0x80, 0, 1, 0, bool(data), 0, 0, 0, 0])
        other.sendto(head + question[12 : end + 4] + record, asker)

def ask(name, kind):
    """Returns what the recursor answers, and whether it asked the other server."""
    name = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    for _ in range(100):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(5)
        client.connect((ADDRESS, 5300))
        try:
            client.send(b"\0\1\1\0\0\1\0\0\0\0\0\0" + name + bytes([0, kind, 0, 1]))
            reply = client.recv(4096)
        except ConnectionRefusedError:  # the recursor is not there yet
            time.sleep(0.1)
            continue
        rcode = {0: "no record", 2: "SERVFAIL", 3: "NXDOMAIN"}[reply[3] & 15]
        found = "mail server" if kind == MX else socket.inet_ntoa(reply[-4:])
        return (found if reply[7] else rcode) + (", asked" if (name, kind) in asked else ", not asked")
    sys.exit("The recursor does not answer.")

threading.Thread(target=serve, daemon=True).start()
version = subprocess.run([sys.argv[1], "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
print(version[version.index("PowerDNS") : version.index(" (C)")])
recursor = subprocess.Popen([
    sys.argv[1], "--config-dir=configuration", f"--socket-dir={os.getcwd()}", f"--local-address={ADDRESS}",
    "--local-port=5300", "--etc-hosts-file=hosts", "--export-etc-hosts=yes", "--dnssec=off", "--daemon=no",
    f"--forward-zones-recurse=.=127.0.0.1:{other.getsockname()[1]}", "--security-poll-suffix=",
], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    seen = {question: ask(*question) for question in EXPECTED}
finally:
    recursor.kill()
    recursor.wait()
for (name, kind), words in seen.items():
    print(f"{name}, {'address' if kind == A else 'mail server'}: {words}")
if seen != EXPECTED:
    sys.exit("The behaviour has changed.")
PYTHON
