#!/usr/bin/env bash
# A server may send interim answers (status 1xx) before the one that counts, asked or not (RFC 9110, 15.2): 102
# "Processing", made for the long work of WebDAV, or 103 "Early Hints". Python's requests, httpx and aiohttp each upload
# to a server that sends such an answer, and then 507 "Insufficient Storage".
#
# Guess: all three skip what they don't need of 1xx, as they skip 100, and raise the error for 507.
# Seen: httpx and aiohttp do. requests skips 100 alone, and takes 102 for the answer: `ok` is true, `raise_for_status()`
# is silent, the text is empty. A failed upload looks like a good one. (The cause is Python's own `http.client`.)
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5

venv/bin/python - <<'PYTHON'
import asyncio, platform, socket, sys, threading
import aiohttp, httpx, requests

FINAL = b"HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull"
INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
}
interim = b""
server = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{server.getsockname()[1]}/file"

def serve():
    while True:
        connection, _ = server.accept()
        request = b""
        while not request.endswith(b"content"):
            request += connection.recv(4096)
        connection.sendall(interim + FINAL)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # until the client has closed
        connection.close()

def with_requests():
    response = requests.put(url, data=b"content", timeout=10)
    response.raise_for_status()
    return response.status_code

def with_httpx():
    response = httpx.put(url, content=b"content", timeout=10)
    response.raise_for_status()
    return response.status_code

def with_aiohttp():
    async def put():
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.put(url, data=b"content") as response:
                return response.status
    return asyncio.run(put())

threading.Thread(target=serve, daemon=True).start()
print(f"requests {requests.__version__}, httpx {httpx.__version__}, aiohttp {aiohttp.__version__}, "
    f"Python {platform.python_version()}")
seen = {}
for status, interim in INTERIM.items():
    for put in with_requests, with_httpx, with_aiohttp:
        name = put.__name__.removeprefix("with_")
        try:
            outcome = f"taken for a success, status {put()}"
        except (requests.HTTPError, httpx.HTTPStatusError) as error:
            outcome = f"error {error.response.status_code}"
        except aiohttp.ClientResponseError as error:
            outcome = f"error {error.status}"
        print(f"{status}, then 507, by {name}: {outcome}")
        seen[status, name] = outcome
expected = dict.fromkeys(seen, "error 507")
expected["102", "requests"] = "taken for a success, status 102"
expected["103", "requests"] = "taken for a success, status 103"
if seen != expected:
    sys.exit("The behaviour has changed.")
PYTHON
