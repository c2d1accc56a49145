#!/usr/bin/env bash
# A search list makes a resolver ask for HOST.corp.example before it asks for HOST as written. c-ares (here in
# pycares) and dnspython bring resolvers of their own, beside that of the C library.
#
# Guess: where HOST.corp.example brings no address, whatever the reason, HOST as written is tried next, as the C
# library of most Linux systems does.
# Seen: only NXDOMAIN lets both go on. With SERVFAIL or REFUSED for HOST.corp.example, both give up, and never ask for
# HOST. An answer without a record stops dnspython, but not c-ares.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
python3 -m venv "$temporary/venv"
"$temporary/venv/bin/pip" install -q pycares==5.2.1 dnspython==2.9.2

"$temporary/venv/bin/python" - <<'PYTHON'
import socket, sys, threading
import dns.name, dns.resolver, dns.version, pycares

HOST, DOMAIN = "api.cloud.example", "corp.example"
RCODES = {"NXDOMAIN": 3, "no record": 0, "SERVFAIL": 2, "REFUSED": 5}
EXPECTED = {
    "c-ares": ["found", "found", "not found", "not found"],
    "dnspython": ["found", "not found", "not found", "not found"],
}

rcode = 0  # of the answers for HOST.corp.example
asked = []
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
port = server.getsockname()[1]

def serve():
    while True:
        question, asker = server.recvfrom(4096)
        end = question.index(0, 12)
        in_domain = b"\4corp" in question[12:end]
        is_ipv4 = question[end + 2] == 1
        asked.append("HOST." + DOMAIN if in_domain else "HOST")
        record = b"" if in_domain or not is_ipv4 else b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\7"
        flags = bytes([0x85, 0x80 | (rcode if in_domain else 0)])
        counts = bytes([0, 1, 0, len(record) > 0, 0, 0, 0, 0])
        server.sendto(question[:2] + flags + counts + question[12 : end + 5] + record, asker)

def with_c_ares():
    done, results = threading.Event(), []
    def finish(result, error):
        results.append(result)
        done.set()
    channel = pycares.Channel(
        servers=["127.0.0.1"], udp_port=port, tcp_port=port, timeout=2, tries=1, domains=[DOMAIN], ndots=5, lookups="b"
    )
    channel.getaddrinfo(HOST, None, family=socket.AF_INET, callback=finish)
    done.wait(20)
    return bool(results and results[0] and results[0].nodes)

def with_dnspython():
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = ["127.0.0.1"], port, 5
    resolver.search, resolver.ndots = [dns.name.from_text(DOMAIN)], 5
    try:
        return bool(list(resolver.resolve(HOST, "A", search=True)))
    except dns.exception.DNSException:
        return False

threading.Thread(target=serve, daemon=True).start()
print(f"c-ares {pycares.ARES_VERSION} (pycares {pycares.__version__}), dnspython {dns.version.version}")
print("HOST has an address.")
seen = {}
for name, look_up in [("c-ares", with_c_ares), ("dnspython", with_dnspython)]:
    for words, rcode in RCODES.items():
        asked.clear()
        is_found = look_up()
        if not asked:  # a new channel of c-ares fails now and then before it asks: not the subject here
            is_found = look_up()
        outcome = "found" if is_found else "not found"
        seen.setdefault(name, []).append(outcome)
        print(f"{name}, HOST.{DOMAIN} is answered with {words}: {outcome}, asked for {', '.join(dict.fromkeys(asked))}")
if seen != EXPECTED:
    sys.exit("The behaviour has changed.")
PYTHON
