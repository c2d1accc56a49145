#!/usr/bin/env bash
# A server answers an upload with 307 or 308: the client shall send the same request, with its body, to another
# address (RFC 9110, 15.4.8). Python's urllib3 puts an open file to such a server.
#
# Guess: the whole file arrives at the second address, as it does with requests, which is built on urllib3.
# Seen: `PoolManager.request` (and so `urllib3.request`) does not go back to the beginning of the file. The second
# address gets an empty body, answers 200, and the caller is told of a success. `HTTPConnectionPool.request` goes
# back, and so does a retry for 503. Bytes in place of a file arrive whole.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q urllib3==2.8.0 requests==2.34.2

venv/bin/python - <<'PYTHON'
import http.server, sys, threading
import requests, urllib3

CONTENT = b"content" * 1000
open("file", "wb").write(CONTENT)
status = 307
arrived = {}  # the sizes of the bodies, by address

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = b""
        if self.headers["Transfer-Encoding"] == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        times = arrived.setdefault(self.path, [])
        times.append(len(body))
        redirect = self.path == "/redirects"
        busy = self.path == "/busy" and len(times) == 1
        self.send_response(status if redirect else 503 if busy else 200)
        if redirect:
            self.send_header("Location", "/second")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
host, port = server.server_address
url = f"http://{host}:{port}"
retries = urllib3.Retry(3, status_forcelist=[503], allowed_methods=None)

def file():
    return open("file", "rb")

session = requests.Session()
session.trust_env = False
print(f"urllib3 {urllib3.__version__}, requests {requests.__version__}; a file of {len(CONTENT)} bytes")
seen = []
for status in 307, 308:
    for name, put in {
        "requests": lambda: session.put(f"{url}/redirects", data=file()).status_code,
        "PoolManager": lambda: urllib3.PoolManager().request("PUT", f"{url}/redirects", body=file()).status,
        "urllib3.request": lambda: urllib3.request("PUT", f"{url}/redirects", body=file()).status,
        "HTTPConnectionPool":
            lambda: urllib3.HTTPConnectionPool(host, port).request("PUT", "/redirects", body=file()).status,
        "PoolManager, bytes": lambda: urllib3.PoolManager().request("PUT", f"{url}/redirects", body=CONTENT).status,
    }.items():
        arrived.clear()
        answer = put()
        print(f"{status}, {name}: {arrived['/redirects']} bytes, then {arrived['/second']}, the caller sees {answer}")
        seen.append((answer, arrived["/redirects"], arrived["/second"]))
arrived.clear()
answer = urllib3.PoolManager().request("PUT", f"{url}/busy", body=file(), retries=retries).status
print(f"503, PoolManager: {arrived['/busy']} bytes, the caller sees {answer}")
size = len(CONTENT)
whole, empty = (200, [size], [size]), (200, [size], [0])
if seen != [whole, empty, empty, whole, whole] * 2 or arrived["/busy"] != [size, size]:
    sys.exit("The behaviour has changed.")
PYTHON
