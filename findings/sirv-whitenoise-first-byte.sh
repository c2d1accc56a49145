#!/usr/bin/env bash
# A client asks for a piece of a file: the first byte (`bytes=0-0`) to learn the size from `Content-Range`, or the last
# bytes (`bytes=-5`), where a zip file has its directory (RFC 9110, 14.1.2). Two servers of static files: sirv for
# Node.js, and WhiteNoise for Django. Both know ranges.
#
# Guess: both send the byte, and the last five bytes, as Express does.
# Seen: for the first byte, sirv sends the whole file as 206, however large it is. For the last five bytes, it sends the
# first six, with a `Content-Range` that says so. WhiteNoise sends the last five, but refuses each single byte, the
# first or another, with 416. All else, such as `bytes=0-1`, arrives as asked for.
#
# Needs Node.js 20 or later, with npm.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund sirv@3.0.2 express@5.3.0
python3 -m venv venv
venv/bin/pip install -q whitenoise==6.12.0

cat >serve.mjs <<'JAVASCRIPT'
import { createServer } from "node:http";
import express from "express";
import sirv from "sirv";

const application = express();
application.use(express.static("files"));
for (const handler of [application, sirv("files")]) {
  const server = createServer(handler);
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
  await new Promise((ready) => server.on("listening", ready));
}
process.stdin.on("end", () => process.exit()).resume(); // when the asker ends
JAVASCRIPT
cat >run.py <<'PYTHON'
import http.client, json, subprocess, sys, threading
from importlib.metadata import version
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server
from whitenoise import WhiteNoise

CONTENT = "abcdefghijklmnopqrstuvwxyz"
ASKED = {"0-0": "a", "1-1": "b", "0-1": "ab", "20-": "uvwxyz", "-5": "vwxyz"}
UNLIKE = {  # where sirv and WhiteNoise part from Express
    ("sirv", "0-0"): (206, "bytes 0-25/26", CONTENT),
    ("sirv", "-5"): (206, "bytes 0-5/26", "abcdef"),
    ("whitenoise", "0-0"): (416, "bytes */26", ""),
    ("whitenoise", "1-1"): (416, "bytes */26", ""),
}
Path("files").mkdir()
Path("files/letters.txt").write_text(CONTENT)

class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass

def installed(name):
    return json.loads(Path(f"node_modules/{name}/package.json").read_text())["version"]

node = subprocess.Popen(["node", "serve.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
in_python = make_server("127.0.0.1", 0, WhiteNoise(None, root="files"), handler_class=Quiet)
threading.Thread(target=in_python.serve_forever, daemon=True).start()
servers = {
    "express": (installed("express"), int(node.stdout.readline())),
    "sirv": (installed("sirv"), int(node.stdout.readline())),
    "whitenoise": (version("whitenoise"), in_python.server_port),
}
changed = False
for name, (release, port) in servers.items():
    for asked, right in ASKED.items():
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("GET", "/letters.txt", headers={"Range": f"bytes={asked}"})
        answer = client.getresponse()
        seen = answer.status, answer.headers["Content-Range"], answer.read().decode()
        client.close()
        expected = UNLIKE.get((name, asked))
        mark = "  <- not as asked for" if seen[2] != right else ""
        print(f"{name} {release}, bytes={asked}: {seen[0]}, {seen[1]}, {seen[2]!r}{mark}")
        changed |= seen != expected if expected else (seen[0], seen[2]) != (206, right)
node.stdin.close()
node.wait()
if changed:
    sys.exit("The behaviour has changed.")
PYTHON
venv/bin/python run.py
