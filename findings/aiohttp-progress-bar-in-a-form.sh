#!/usr/bin/env bash
# Python's tqdm and rich each wrap an open file, so that a progress bar grows as the file is read: `tqdm.wrapattr` and
# `rich.progress.wrap_file`. The wrapped file is handed to a client, as a file in a form.
#
# Guess: requests, httpx and aiohttp send the file, whichever wrapper it has.
# Seen: requests and httpx do, and aiohttp does with rich. With tqdm, aiohttp takes the wrapper for a value that it
# does not know, and sends its name in Python: the server stores "<tqdm.utils.CallbackIOWrapper object at 0x...>" in
# place of the file, and the status is 200. As the body itself (no form), aiohttp refuses the same object with a
# TypeError.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q aiohttp==3.14.5 requests==2.34.2 httpx==0.28.1 tqdm==4.67.1 rich==14.2.0

venv/bin/python - <<'PYTHON'
import asyncio, os, sys
from importlib.metadata import version
import aiohttp, httpx, requests
from aiohttp import web
from rich.console import Console
from rich.progress import wrap_file
from tqdm import tqdm

CONTENT = b"content of the file"
open("file", "wb").write(CONTENT)
nowhere = open(os.devnull, "w")
arrived = None

def with_tqdm(file):
    return tqdm.wrapattr(file, "read", total=len(CONTENT), file=nowhere)

def with_rich(file):
    return wrap_file(file, len(CONTENT), console=Console(file=nowhere))

async def serve(request):
    global arrived
    value = (await request.post())["file"]
    arrived = value.encode() if isinstance(value, str) else value.file.read()
    return web.Response()

async def with_aiohttp(data):
    async with aiohttp.ClientSession() as session, session.post(url, data=data) as response:
        return response.status

async def main():
    global arrived, url
    app = web.Application()
    app.router.add_post("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"
    session = requests.Session()
    session.trust_env = False

    def with_requests(file):
        return session.post(url, files={"file": file}).status_code

    def with_httpx(file):
        return httpx.post(url, files={"file": file}, trust_env=False).status_code

    print(", ".join(f"{name} {version(name)}" for name in ("aiohttp", "requests", "httpx", "tqdm", "rich")))
    changed = False
    for wrapper, wrap in {"tqdm": with_tqdm, "rich": with_rich}.items():
        for client, post in {
            "requests": lambda file: asyncio.to_thread(with_requests, file),
            "httpx": lambda file: asyncio.to_thread(with_httpx, file),
            "aiohttp": lambda file: with_aiohttp({"file": file}),
        }.items():
            arrived = None
            with open("file", "rb") as plain, wrap(plain) as file:
                status = await post(file)
            print(f"{client} with {wrapper}: status {status}, {arrived[:38]}")
            if (client, wrapper) == ("aiohttp", "tqdm"):
                changed |= status != 200 or not arrived.startswith(b"<tqdm.utils.CallbackIOWrapper")
            else:
                changed |= status != 200 or arrived != CONTENT
    try:
        with open("file", "rb") as plain, with_tqdm(plain) as file:
            await with_aiohttp(file)
        changed = True
    except TypeError as error:
        print(f"aiohttp with tqdm, no form: TypeError: {error}")
    await runner.cleanup()
    if changed:
        sys.exit("The behaviour has changed.")

asyncio.run(main())
PYTHON
