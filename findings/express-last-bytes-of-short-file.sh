#!/usr/bin/env bash
# The directory of a zip file stands at its end. So a client that wants one file out of a zip on a server asks for the
# last 64 kilobytes: `bytes=-65536`. If the file is shorter, the server sends all of it (RFC 9110, 14.1.2).
#
# Guess: every server of static files that knows ranges does so, with 206 or 200.
# Seen: Starlette and Tornado do. Express, Fastify, `serve` (serve-handler) and Flask (Werkzeug) answer 416 "Range Not
# Satisfiable"; with 416, `serve` sends the whole file as the body. From these four, Python's remotezip reads a zip of
# 100 kilobytes, but not one of 121 bytes: it raises an error that names the 416.
#
# Needs Node.js 20 or later, with npm.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund express@5.3.0 fastify@5.12.8 @fastify/static@10.1.11 serve-handler@6.1.8
python3 -m venv venv
venv/bin/pip install -q starlette==1.10.0 uvicorn==0.54.0 flask==3.1.3 werkzeug==3.1.9 tornado==6.6.1 remotezip==0.12.6

cat >serve.mjs <<'JAVASCRIPT'
import { createServer } from "node:http";
import { resolve } from "node:path";
import fastifyStatic from "@fastify/static";
import express from "express";
import fastify from "fastify";
import handler from "serve-handler";

const root = resolve("files");
const application = express();
application.set("env", "test"); // no log on stderr
application.use(express.static(root));
for (const handle of [application, (asked, answer) => handler(asked, answer, { public: root })]) {
  const server = createServer(handle);
  server.listen(0, "127.0.0.1");
  await new Promise((ready) => server.on("listening", ready));
  console.log(server.address().port);
}
const withFastify = fastify();
await withFastify.register(fastifyStatic, { root });
await withFastify.listen({ port: 0, host: "127.0.0.1" });
console.log(withFastify.server.address().port);
process.stdin.on("end", () => process.exit()).resume(); // when the asker ends
JAVASCRIPT
cat >run.py <<'PYTHON'
import asyncio, http.client, json, os, socket, subprocess, sys, threading, time, zipfile
from importlib.metadata import version
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server
import flask, remotezip, starlette.applications, starlette.staticfiles, tornado.web, uvicorn

os.environ["NO_PROXY"] = "*"  # the servers are on this machine
folder = Path("files").resolve()
folder.mkdir()
for name, text in {"short.zip": b"hello", "long.zip": b"hello" * 20000}.items():
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("hello.txt", text)

class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass

def run_starlette(port):
    application = starlette.applications.Starlette()
    application.mount("/", starlette.staticfiles.StaticFiles(directory=folder))
    asyncio.run(uvicorn.Server(uvicorn.Config(application, port=port, log_level="critical")).serve())

def run_tornado(port):
    async def run():
        tornado.web.Application([("/(.*)", tornado.web.StaticFileHandler, {"path": str(folder)})],
                                log_function=lambda _: None).listen(port, "127.0.0.1")
        await asyncio.Event().wait()
    asyncio.run(run())

def run_flask(port):
    application = flask.Flask("x", static_folder=folder, static_url_path="")
    make_server("127.0.0.1", port, application, handler_class=Quiet).serve_forever()

def start(serve):
    """Returns the port of the server, as soon as it is there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    threading.Thread(target=serve, args=(port,), daemon=True).start()
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return port
        except ConnectionRefusedError:
            time.sleep(0.1)
    sys.exit("The server does not start.")

def installed(name):
    return json.loads(Path(f"node_modules/{name}/package.json").read_text())["version"]

node = subprocess.Popen(["node", "serve.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
servers = {name: (installed(name), int(node.stdout.readline())) for name in ("express", "serve-handler", "fastify")}
servers["werkzeug"] = version("werkzeug"), start(run_flask)
servers["starlette"] = version("starlette"), start(run_starlette)
servers["tornado"] = version("tornado"), start(run_tornado)
changed = False
for name, (release, port) in servers.items():
    for file in "short.zip", "long.zip":
        size = (folder / file).stat().st_size
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("GET", f"/{file}", headers={"Range": "bytes=-65536"})
        answer = client.getresponse()
        arrived = len(answer.read())
        client.close()
        try:
            with remotezip.RemoteZip(f"http://127.0.0.1:{port}/{file}") as archive:
                names = str(archive.namelist())
        except Exception as error:
            names = f"{type(error).__name__}: {error}".split(" for url")[0]
        print(f"{name} {release}, {file} of {size} bytes: {answer.status} with {arrived} bytes; remotezip: {names}")
        if file == "long.zip":
            changed |= (answer.status, arrived, names) != (206, 65536, "['hello.txt']")
        elif name in ("starlette", "tornado"):
            changed |= answer.status not in (200, 206) or arrived != size
        else:
            changed |= answer.status != 416 or "416" not in names
            changed |= (arrived == size) != (name == "serve-handler")
node.stdin.close()
node.wait()
if changed:
    print("The behaviour has changed.", file=sys.stderr)
sys.stdout.flush()
os._exit(changed)
PYTHON
venv/bin/python run.py
