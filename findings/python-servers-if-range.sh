#!/usr/bin/env bash
# A client has half of a file, and asks for the other half: `Range`, with the old ETag in `If-Range`. If the file is
# another one by now, the server sends it whole, and does not look at `Range` (RFC 9110, 13.1.5). Python's servers of
# static files each hand out an ETag.
#
# Guess: all send the new file whole, or don't know ranges and send it whole for this reason.
# Seen: Starlette and Werkzeug do. aiohttp, WhiteNoise and Falcon send the second half of the new file, as 206. So the
# client puts halves of two files together, and the size is right. aiohttp heeds a date in `If-Range`, but not the ETag
# that it hands out itself.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q starlette==1.10.0 uvicorn==0.54.0 flask==3.1.3 werkzeug==3.1.9 waitress==3.0.2 \
  aiohttp==3.14.5 whitenoise==6.12.0 falcon==4.4.0

venv/bin/python - <<'PYTHON'
import asyncio, http.client, os, socket, sys, threading, time
from importlib.metadata import version
from wsgiref.simple_server import WSGIRequestHandler, make_server
import aiohttp.web, falcon, flask, starlette.applications, starlette.staticfiles, uvicorn, whitenoise

OLD, NEW = b"old half 1, old half 2.", b"NEW HALF 1, NEW HALF 2."
HALF = len(OLD) // 2 + 1
folder = os.path.realpath("files")
os.mkdir(folder)

class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass

def wsgi(application):
    return lambda port: make_server("127.0.0.1", port, application, handler_class=Quiet).serve_forever()

def run_starlette(port):
    application = starlette.applications.Starlette()
    application.mount("/", starlette.staticfiles.StaticFiles(directory=folder))
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="critical"))
    asyncio.run(server.serve())

def run_aiohttp(port):
    async def run():
        application = aiohttp.web.Application()
        application.router.add_static("/", folder)
        runner = aiohttp.web.AppRunner(application, access_log=None)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()
    asyncio.run(run())

with_falcon = falcon.App()
with_falcon.add_static_route("/", folder)
servers = {
    "starlette": run_starlette,
    "werkzeug": wsgi(flask.Flask("x", static_folder=folder, static_url_path="")),
    "aiohttp": run_aiohttp,
    "whitenoise": wsgi(whitenoise.WhiteNoise(None, root=folder, autorefresh=True)),
    "falcon": wsgi(with_falcon),
}

def put(content, age):
    """Puts the file in place, as a program does that writes another one and renames it."""
    with open("new", "wb") as file:
        file.write(content)
    then = time.time() - age
    os.utime("new", (then, then))
    os.replace("new", f"{folder}/file")

def get(port, headers):
    for _ in range(100):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            client.request("GET", "/file", headers=headers)
        except ConnectionRefusedError:  # the server is not there yet
            time.sleep(0.1)
            continue
        answer = client.getresponse()
        body = answer.read()
        client.close()
        return answer, body
    sys.exit("The server does not answer.")

changed = False
for name, serve in servers.items():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    threading.Thread(target=serve, args=(port,), daemon=True).start()
    put(OLD, 7200)
    answer, body = get(port, {})
    etag, date = answer.headers["ETag"], answer.headers["Last-Modified"]
    rest = {"Range": f"bytes={HALF}-"}
    unchanged, _ = get(port, rest | {"If-Range": etag})
    put(NEW, 3600)
    after, body = get(port, rest | {"If-Range": etag})
    by_date, _ = get(port, rest | {"If-Range": date})
    client = OLD[:HALF] + body if after.status == 206 else body
    print(f"{name} {version(name)}: ETag {etag[:20]}, the same file {unchanged.status}, another one {after.status} "
          f"(by its date {by_date.status}), the client has {client.decode()!r}")
    ignores = name not in ("starlette", "werkzeug")
    changed |= (unchanged.status, after.status) != (206, 206 if ignores else 200)
    changed |= client != (OLD[:HALF] + NEW[HALF:] if ignores else NEW)
    changed |= by_date.status != (206 if ignores and name != "aiohttp" else 200)
if changed:
    sys.exit("The behaviour has changed.")
os._exit(0)
PYTHON
