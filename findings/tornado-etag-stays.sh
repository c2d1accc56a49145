#!/usr/bin/env bash
# Servers of static files hand out an ETag, so that a browser can ask whether its copy is still good. A file is replaced
# by another one, of other content, size and date, while the server runs.
#
# Guess: the file has another ETag from then on, and a browser with the old one gets the new file.
# Seen: so it is with Starlette, Werkzeug and aiohttp. Tornado's StaticFileHandler keeps the first ETag for as long as it
# runs. It sends the new content and the new date under the old ETag, and answers 304 "Not Modified" to a browser that
# has the old file: this browser never sees the new one. Asked with the date alone, it sends it. The setting
# `static_hash_cache=False` helps.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q tornado==6.6.1 starlette==1.10.0 uvicorn==0.54.0 flask==3.1.3 werkzeug==3.1.9 aiohttp==3.14.5

venv/bin/python - <<'PYTHON'
import asyncio, http.client, os, socket, sys, threading, time
from importlib.metadata import version
from wsgiref.simple_server import WSGIRequestHandler, make_server
import aiohttp.web, flask, starlette.applications, starlette.staticfiles, tornado.web, uvicorn

OLD, NEW = "old page", "the new page"
folder = os.path.realpath("files")
os.mkdir(folder)

class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass

def run_starlette(port):
    application = starlette.applications.Starlette()
    application.mount("/", starlette.staticfiles.StaticFiles(directory=folder))
    asyncio.run(uvicorn.Server(uvicorn.Config(application, port=port, log_level="critical")).serve())

def run_werkzeug(port):
    application = flask.Flask("x", static_folder=folder, static_url_path="")
    make_server("127.0.0.1", port, application, handler_class=Quiet).serve_forever()

def run_aiohttp(port):
    async def run():
        application = aiohttp.web.Application()
        application.router.add_static("/", folder)
        runner = aiohttp.web.AppRunner(application, access_log=None)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()
    asyncio.run(run())

def run_tornado(port, **settings):
    async def run():
        tornado.web.Application([("/(.*)", tornado.web.StaticFileHandler, {"path": folder})],
                                log_function=lambda _: None, **settings).listen(port, "127.0.0.1")
        await asyncio.Event().wait()
    asyncio.run(run())

def put(content, age):
    """Puts the file in place, as a program does that writes another one and renames it."""
    with open("new", "w") as file:
        file.write(content)
    then = time.time() - age
    os.utime("new", (then, then))
    os.replace("new", f"{folder}/page.txt")

def get(port, headers):
    for _ in range(100):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            client.request("GET", "/page.txt", headers=headers)
        except ConnectionRefusedError:  # the server is not there yet
            time.sleep(0.1)
            continue
        answer = client.getresponse()
        answer.text = answer.read().decode()
        client.close()
        return answer
    sys.exit("The server does not answer.")

changed = False
for name, words, serve in [
    ("starlette", "", run_starlette),
    ("werkzeug", "", run_werkzeug),
    ("aiohttp", "", run_aiohttp),
    ("tornado", "", run_tornado),
    ("tornado", ", static_hash_cache=False", lambda port: run_tornado(port, static_hash_cache=False)),
]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    threading.Thread(target=serve, args=(port,), daemon=True).start()
    put(OLD, 7200)
    old = get(port, {})
    tag, date = {"If-None-Match": old.headers["ETag"]}, {"If-Modified-Since": old.headers["Last-Modified"]}
    put(NEW, 3600)
    new = get(port, {})
    by_tag, both, by_date = get(port, tag), get(port, tag | date), get(port, date)
    same = old.headers["ETag"] == new.headers["ETag"]
    print(f"{name} {version(name)}{words}: sends {old.text!r}, then {new.text!r}, with "
          f"{'the same' if same else 'another'} ETag; to the old ETag {by_tag.status}, to ETag and date {both.status}, "
          f"to the date {by_date.status}")
    stays = name == "tornado" and not words
    changed |= (old.text, new.text, same) != (OLD, NEW, stays)
    changed |= (by_tag.status, both.status, by_date.status) != ((304, 304, 200) if stays else (200, 200, 200))
sys.stdout.flush()
if changed:
    print("The behaviour has changed.", file=sys.stderr)
os._exit(changed)
PYTHON
