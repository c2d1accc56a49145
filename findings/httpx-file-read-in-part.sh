#!/usr/bin/env bash
# A program reads the head of an open file, and uploads the file from there on: in a form, or as the body itself.
#
# Guess: Python's clients send the rest, or all of them the whole. Form or body makes no difference.
# Seen: requests and aiohttp send the rest. httpx goes back in a form, and sends the whole; as a body it sends the rest,
# but states the size of the whole. This fails with h11's LocalProtocolError, which is none of the errors of httpx. The
# form of requests-toolbelt has the rest of a file on the disk, but the whole of a file in memory (BytesIO).
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
python3 -m venv "$temporary/venv"
"$temporary/venv/bin/pip" install -q httpx==0.28.1 h11==0.16.0 requests==2.34.2 requests-toolbelt==1.0.0 aiohttp==3.14.5

"$temporary/venv/bin/python" - "$temporary/file" <<'PYTHON' || { echo "The behaviour has changed." >&2 && exit 1; }
import asyncio, http.server, io, sys, threading
from importlib.metadata import version
import aiohttp, h11, httpx, requests
from requests_toolbelt import MultipartEncoder

bodies = []

class Server(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}/"

with open(sys.argv[1], "wb") as file:
    file.write(b"head,rest")

def disk():
    return open(sys.argv[1], "rb")

def memory():
    return io.BytesIO(b"head,rest")

def toolbelt(file):
    form = MultipartEncoder({"file": ("a.txt", file)})
    requests.post(URL, data=form, headers={"Content-Type": form.content_type})

async def by_aiohttp(file, form):
    data = aiohttp.FormData({"file": file}) if form else file
    async with aiohttp.ClientSession() as client:
        await client.post(URL, data=data)

ways = {
    "requests, form": (lambda file: requests.post(URL, files={"file": file}), "rest", "rest"),
    "requests, body": (lambda file: requests.post(URL, data=file), "rest", "rest"),
    "aiohttp, form": (lambda file: asyncio.run(by_aiohttp(file, True)), "rest", "rest"),
    "aiohttp, body": (lambda file: asyncio.run(by_aiohttp(file, False)), "rest", "rest"),
    "requests-toolbelt, form": (toolbelt, "rest", "whole"),
    "httpx, form": (lambda file: httpx.post(URL, files={"file": file}), "whole", "whole"),
    "httpx, body": (lambda file: httpx.post(URL, content=file), "h11.LocalProtocolError", "h11.LocalProtocolError"),
}
print(*(f"{name} {version(name)}" for name in ("httpx", "requests", "requests-toolbelt", "aiohttp")), sep=", ")
changed = False
for name, (send, *expected) in ways.items():
    seen = []
    for opened in (disk, memory):
        with opened() as file:
            file.read(5)
            try:
                send(file)
                seen.append("whole" if b"head," in bodies[-1] else "rest" if b"rest" in bodies[-1] else "neither")
            except h11.LocalProtocolError as error:
                assert not isinstance(error, httpx.HTTPError)
                seen.append("h11.LocalProtocolError")
    print(f"{name}: {seen[0]} from the disk, {seen[1]} from memory")
    changed |= seen != expected
sys.exit(changed)
PYTHON
