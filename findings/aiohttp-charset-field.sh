#!/usr/bin/env bash
# HTML has a hidden field `_charset_`: the browser puts the name of the form's encoding into it. aiohttp's server
# knows this field and uses it for the other fields.
#
# Guess: a form with this field is read, and at best the field comes first.
# Seen: wherever it stands, `request.post()` raises InvalidHeader, as it takes the next boundary for a header: the
# client gets a 500. The same form without the field is read.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
python3 -m venv "$temporary/venv"
"$temporary/venv/bin/pip" install -q aiohttp==3.14.5

"$temporary/venv/bin/python" - <<'PYTHON' || { echo "The behaviour has changed." >&2 && exit 1; }
import asyncio, sys
import aiohttp
from aiohttp import web

def form(*names):
    parts = "".join(f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nutf-8\r\n' for name in names)
    return parts + "--B--\r\n"

async def fields(request):
    try:
        return web.json_response(dict(await request.post()))
    except aiohttp.http_exceptions.InvalidHeader as error:
        return web.Response(status=500, text="InvalidHeader: " + " ".join(str(error).split()))

async def main():
    application = web.Application()
    application.router.add_post("/", fields)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    seen = []
    print("aiohttp", aiohttp.__version__)
    async with aiohttp.ClientSession() as client:
        for names in [("title", "text"), ("_charset_", "title"), ("title", "_charset_")]:
            headers = {"Content-Type": "multipart/form-data; boundary=B"}
            async with client.post(f"http://127.0.0.1:{port}/", data=form(*names), headers=headers) as reply:
                text = await reply.text()
                print(f"{names[0]}, then {names[1]}: {reply.status} {text}")
                seen.append(reply.status)
    await runner.cleanup()
    sys.exit(seen != [200, 500, 500])

asyncio.run(main())
PYTHON
