#!/usr/bin/env bash
# A server reads a POST to its end, does the work, and then closes the connection without an answer, as it does when it
# is restarted. The client cannot know whether the work was done. Python's httplib2, requests, httpx and aiohttp make
# such a POST on a new connection.
#
# Guess: all four raise an error: a POST may not be repeated unless it is known to do no harm (RFC 9110, 9.2.2).
# Seen: requests, httpx and aiohttp do. httplib2 sends the POST again by itself. If the server answers then, the caller
# gets a plain success, and the server has done the work twice. `httplib2.RETRIES = 1`, the number of tries, does not
# stop it.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q httplib2==0.32.1 requests==2.34.2 httpx==0.28.1 aiohttp==3.14.5

venv/bin/python - <<'PYTHON'
import asyncio, socket, sys, threading
import aiohttp, httplib2, httpx, requests

posts = 0  # that arrived whole
server = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{server.getsockname()[1]}/orders"

def serve():
    global posts
    while True:
        connection, _ = server.accept()
        request = b""
        while not request.endswith(b"order=1"):
            request += connection.recv(4096)
        posts += 1
        if posts > 1:
            connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.close()

def with_httplib2():
    return httplib2.Http(timeout=10).request(url, "POST", body="order=1")[0].status

def with_httplib2_once():
    httplib2.RETRIES = 1
    return with_httplib2()

def with_requests():
    return requests.post(url, data="order=1", timeout=10).status_code

def with_httpx():
    return httpx.post(url, content="order=1", timeout=10).status_code

def with_aiohttp():
    async def post():
        async with aiohttp.ClientSession() as session, session.post(url, data="order=1") as response:
            return response.status
    return asyncio.run(post())

threading.Thread(target=serve, daemon=True).start()
print(f"httplib2 {httplib2.__version__}, requests {requests.__version__}, httpx {httpx.__version__}, aiohttp "
    + aiohttp.__version__)
seen = {}
for name, post in [
    ("requests", with_requests), ("httpx", with_httpx), ("aiohttp", with_aiohttp), ("httplib2", with_httplib2),
    ("httplib2 with RETRIES = 1", with_httplib2_once),
]:
    posts = 0
    try:
        outcome = f"status {post()}"
    except (OSError, httpx.TransportError, aiohttp.ClientError):
        outcome = "an error"
    print(f"{name}: {outcome}, the server got {posts} POST")
    seen[name] = outcome, posts
once, twice = ("an error", 1), ("status 201", 2)
if list(seen.values()) != [once, once, once, twice, twice]:
    sys.exit("The behaviour has changed.")
PYTHON
