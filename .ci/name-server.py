#!/usr/bin/env python3
"""A name server that fails in one way. It does what no setting of a real one does, but what users meet.

    name-server.py ADDRESS HOST_ADDRESS [NAMES=ACTION]...

api.cloud.test and cos.cloud.test have HOST_ADDRESS, and no IPv6 address. No other name exists. An ACTION changes this
for some questions. NAMES is `A`, `AAAA`, or `search` for all names in the search domain corp.test.
"""

import socket
import sys
import threading
import time

HOSTS = ("api.cloud.test", "cos.cloud.test")
RCODES = {"good": 0, "nodata": 0, "formerr": 1, "servfail": 2, "nxdomain": 3, "notimp": 4, "refused": 5}
TYPES = {1: "A", 28: "AAAA"}

actions = dict(rule.split("=") for rule in sys.argv[3:])
host_address = socket.inet_aton(sys.argv[2])
answered = {}  # the socket that asked, and when it got its last answer


def reply_to(question, asker, by_tcp=False):
    """Returns the reply, or None for silence."""
    end = question.index(0, 12)  # of the name: its labels follow each other, with a length before each
    labels, at = [], 12
    while at < end:
        labels.append(question[at + 1 : at + 1 + question[at]].decode().lower())
        at += 1 + question[at]
    name, kind = ".".join(labels), TYPES.get(question[end + 2])

    action = "nxdomain"
    if name in HOSTS:
        action = actions.get(kind, "good" if kind == "A" else "nodata")
    elif name.endswith(".corp.test"):
        action = actions.get("search", "nxdomain")

    if action == "late":  # this question is answered, but 3 s later
        time.sleep(3)
        action = "nodata"
    if action == "once":  # a firewall that loses the second of two questions from one socket
        now = time.monotonic()
        if now - answered.get(asker, -9) < 1:
            return None
        answered[asker] = now
        action = "good" if kind == "A" else "nodata"
    truncated = action == "truncated" and not by_tcp  # "ask again by TCP"
    if action == "truncated":
        action = "nodata" if truncated or kind != "A" else "good"
    if action == "silent":
        return None
    record = b""
    if action == "good":  # the name by reference, A, IN, 60 s, 4 bytes
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + host_address
    flags = bytes([0x87 if truncated else 0x85, 0x80 | RCODES[action]])
    counts = b"\0\1" + bytes([0, len(record) > 0]) + b"\0\0\0\0"
    return question[:2] + flags + counts + question[12 : end + 5] + record


def answer(question, asker):
    reply = reply_to(question, asker)
    if reply:
        udp.sendto(reply, asker)


def serve_tcp():
    while True:
        connection, asker = tcp.accept()
        with connection, connection.makefile("rb") as questions:
            while length := questions.read(2):  # glibc asks two questions on one connection
                reply = reply_to(questions.read(int.from_bytes(length, "big")), asker, by_tcp=True)
                if reply:
                    connection.sendall(len(reply).to_bytes(2, "big") + reply)


udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], 53))
tcp = socket.create_server((sys.argv[1], 53))
threading.Thread(target=serve_tcp, daemon=True).start()
while True:
    threading.Thread(target=answer, args=udp.recvfrom(4096), daemon=True).start()
