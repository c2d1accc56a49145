#!/usr/bin/env bash
# dnsmasq knows a host by `--host-record`, with an IPv4 address and no IPv6 address. It is asked for both.
#
# Guess: for IPv6 it answers "no record", as it knows the host.
# Seen: it hands the second question on. The other server's NXDOMAIN becomes "no record", but its SERVFAIL or REFUSED
# goes to the client as it is; and with no other server to ask, dnsmasq itself answers REFUSED for a host that it
# knows. Programs linked with musl (Alpine) do not find such a host. `--filter-AAAA` helps: the answer is "no record"
# then.
#
# For Debian 12, as any user.
set -euo pipefail
temporary=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$temporary"' EXIT
cd "$temporary"
packages=(
  dnsmasq-base=2.90-4~deb12u2 libnetfilter-conntrack3 libnfnetlink0 libnftables1 libnftnl11 libmnl0 libjansson4
  libxtables12 libedit2 libbsd0 libdbus-1-3 libidn2-0 libunistring2 libhogweed6 libnettle8 libgmp10
)
apt-get download -qq -o APT::Sandbox::User="$(id -un)" "${packages[@]}"
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$temporary/root/usr/lib/$(uname -m)-linux-gnu
python3 - root/usr/sbin/dnsmasq <<'PYTHON'
import getpass, socket, subprocess, sys, threading, time

RCODES = {0: "no record", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}
EXPECTED = ["REFUSED", "no record", "SERVFAIL", "REFUSED", "no record"]
ADDRESS = "127.10.0.1"  # one of this machine's own
HOST = b"\4host\7example\0"

other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # the server behind dnsmasq
other.bind(("127.0.0.1", 0))
rcode = 0  # of its answers

def serve():
    while True:
        question, asker = other.recvfrom(4096)
        end = question.index(0, 12) + 5
        other.sendto(question[:2] + bytes([0x81, 0x80 | rcode, 0, 1, 0, 0, 0, 0, 0, 0]) + question[12:end], asker)

def ask(kind):
    """Returns what dnsmasq answers: an address, or the answer's code in words."""
    for _ in range(50):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(0.2)
        client.connect((ADDRESS, 5300))
        try:
            client.send(b"\0\1\1\0\0\1\0\0\0\0\0\0" + HOST + bytes([0, kind, 0, 1]))
            reply = client.recv(4096)
        except OSError:  # dnsmasq is not there yet
            time.sleep(0.1)
            continue
        if reply[3] & 15 == 0 and reply[7]:
            return socket.inet_ntoa(reply[-4:])
        return RCODES[reply[3] & 15]
    sys.exit("dnsmasq does not answer")

threading.Thread(target=serve, daemon=True).start()
version = subprocess.run([sys.argv[1], "--version"], capture_output=True, text=True).stdout
print(*version.split()[:3])
behind = f"--server=127.0.0.1#{other.getsockname()[1]}"
seen = []
for words, rcode, options in [
    ("no server behind it", 0, []),
    ("NXDOMAIN behind it", 3, [behind]),
    ("SERVFAIL behind it", 2, [behind]),
    ("REFUSED behind it", 5, [behind]),
    ("SERVFAIL behind it, --filter-AAAA", 2, [behind, "--filter-AAAA"]),
]:
    dnsmasq = subprocess.Popen([
        sys.argv[1], "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--pid-file=",
        f"--user={getpass.getuser()}", "--bind-interfaces", f"--listen-address={ADDRESS}", "--port=5300",
        "--host-record=host.example,192.0.2.7", *options,
    ], stderr=subprocess.DEVNULL)
    ipv4, ipv6 = ask(1), ask(28)
    dnsmasq.kill()
    dnsmasq.wait()
    print(f"{words}: IPv4 {ipv4}, IPv6 {ipv6}")
    seen.append(ipv6 if ipv4 == "192.0.2.7" else ipv4)
if seen != EXPECTED:
    sys.exit("The behaviour has changed.")
PYTHON
