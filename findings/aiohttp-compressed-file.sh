#!/usr/bin/env bash
# Python's `gzip.open`, `bz2.open` and `lzma.open` give an object that reads like a plain file: what it hands out is
# the text, not the compressed bytes. requests, urllib3 and aiohttp each upload a log of 60,000 bytes from such an
# object.
#
# Guess: all send the text whole, with its own length or in chunks.
# Seen: requests and urllib3 do. aiohttp states the size of the compressed file on the disk, sends as many bytes of
# the text, and leaves out the rest without a word. The server gets a well-formed upload of a few lines, and answers
# 200. It is the same in a form.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q aiohttp==3.14.5 requests==2.34.2 urllib3==2.8.0

venv/bin/python - <<'PYTHON'
import asyncio, bz2, gzip, lzma, os, sys
from email import message_from_bytes
import aiohttp, requests, urllib3
from aiohttp import web

TEXT = b"hello world\n" * 5000
PACKERS = {"gzip": gzip, "bz2": bz2, "lzma": lzma}
arrived = b""

async def serve(request):
    global arrived
    arrived = await request.read()
    if request.content_type == "multipart/form-data":
        head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
        [part] = message_from_bytes(head + arrived).get_payload()
        arrived = part.get_payload(decode=True)
    return web.Response()

async def with_aiohttp(data):
    async with aiohttp.ClientSession() as session, session.put(url, data=data) as response:
        return response.status

async def main():
    global arrived, url
    app = web.Application()
    app.router.add_put("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"
    session = requests.Session()
    session.trust_env = False
    clients = {
        "requests": lambda file: asyncio.to_thread(lambda: session.put(url, data=file).status_code),
        "urllib3": lambda file: asyncio.to_thread(lambda: urllib3.PoolManager().request("PUT", url, body=file).status),
        "aiohttp": with_aiohttp,
        "aiohttp, form": lambda file: with_aiohttp({"log": file}),
    }
    print(f"aiohttp {aiohttp.__version__}, requests {requests.__version__}, urllib3 {urllib3.__version__}")
    changed = False
    for packer, module in PACKERS.items():
        with module.open(packer, "wb") as file:
            file.write(TEXT)
        size = os.path.getsize(packer)
        for client, put in clients.items():
            arrived = b""
            with module.open(packer) as file:
                status = await put(file)
            sizes = f"{len(TEXT)} bytes, {size} on the disk"
            print(f"{packer} ({sizes}), {client}: {len(arrived)} bytes arrive, status {status}")
            changed |= status != 200 or arrived != (TEXT[:size] if client.startswith("aiohttp") else TEXT)
    await runner.cleanup()
    if changed:
        sys.exit("The behaviour has changed.")

asyncio.run(main())
PYTHON
