#!/usr/bin/env bash
# The header of a form names the boundary, in quotes or bare, and may have more parameters: `boundary="B"` and
# `boundary=B` are the same (RFC 9110, 5.6.6), and .NET's HttpClient writes the quotes always. Python's web frameworks
# read such forms.
#
# Guess: all of them read the form, with and without quotes, with and without `charset=utf-8`.
# Seen: Starlette, Werkzeug, Sanic and aiohttp do. BlackSheep reads it with a bare boundary at the end. With quotes,
# or with a `charset` before or behind, it hands out a form without fields and files, and raises no error: for the
# handler, the user has sent nothing.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q blacksheep==2.6.4 starlette==1.10.0 python-multipart==0.0.34 werkzeug==3.1.9 \
  sanic==25.12.1 aiohttp==3.14.5

venv/bin/python - <<'PYTHON'
import asyncio, io, json, logging, sys
from importlib.metadata import version
import blacksheep
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sanic.headers import parse_content_header
from sanic.request.form import parse_multipart_form
from starlette.requests import Request
from werkzeug.formparser import parse_form_data

logging.disable(logging.CRITICAL)
BODY = b"\r\n".join([
    b"--B", b'Content-Disposition: form-data; name="field"', b"", b"value",
    b"--B", b'Content-Disposition: form-data; name="file"; filename="a.txt"', b"Content-Type: text/plain",
    b"", b"content",
    b"--B--", b"",
])
HEADERS = [
    "multipart/form-data; boundary=B",
    'multipart/form-data; boundary="B"',
    "multipart/form-data; charset=utf-8; boundary=B",
    "multipart/form-data; boundary=B; charset=utf-8",
]

def scope(header):
    length = str(len(BODY)).encode()
    headers = [(b"content-type", header.encode()), (b"content-length", length), (b"host", b"localhost")]
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

async def receive():
    return {"type": "http.request", "body": BODY, "more_body": False}

async def with_blacksheep(header):
    app = blacksheep.Application()

    @app.router.post("/")
    async def handle(request: blacksheep.Request):
        return blacksheep.json(sorted(await request.form()))

    messages = []

    async def send(message):
        messages.append(message)

    await app.start()
    await app(scope(header), receive, send)
    assert messages[0]["status"] == 200
    return json.loads(b"".join(message.get("body", b"") for message in messages))

async def with_starlette(header):
    return sorted(await Request(scope(header), receive).form())

async def with_werkzeug(header):
    environ = {
        "REQUEST_METHOD": "POST", "CONTENT_TYPE": header, "CONTENT_LENGTH": str(len(BODY)),
        "wsgi.input": io.BytesIO(BODY),
    }
    _, fields, files = parse_form_data(environ)
    return sorted([*fields, *files])

async def with_sanic(header):
    fields, files = parse_multipart_form(BODY, parse_content_header(header)[1]["boundary"].encode())
    return sorted([*fields, *files])

async def with_aiohttp(header):
    async def handle(request):
        return web.json_response(sorted(await request.post()))

    app = web.Application()
    app.router.add_post("/", handle)
    async with TestClient(TestServer(app)) as client:
        response = await client.post("/", data=BODY, headers={"Content-Type": header})
        return await response.json()

async def main():
    changed = False
    for read in with_starlette, with_werkzeug, with_sanic, with_aiohttp, with_blacksheep:
        name = read.__name__.removeprefix("with_")
        print(name, version(name))
        for header in HEADERS:
            names = await read(header)
            print(f"  {header}: {', '.join(names) or 'nothing'}")
            empty = read is with_blacksheep and header != HEADERS[0]
            changed |= names != ([] if empty else ["field", "file"])
    if changed:
        sys.exit("The behaviour has changed.")

asyncio.run(main())
PYTHON
