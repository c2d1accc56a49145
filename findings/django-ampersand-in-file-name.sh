#!/usr/bin/env bash
# The name of a file in a form is plain text, and an ampersand needs no escape. (A browser writes a character as a number
# like `&#22270;` only where the page's old encoding lacks it.)
#
# Guess: of a valid name without a path, Django keeps every character, or undoes such numbers at most.
# Seen: Django undoes all the entities of HTML, also those of old that need no semicolon: "orders&regions.csv" arrives as
# "orders®ions.csv", "q&notes.txt" as "q¬es.txt". Werkzeug and Starlette keep the names.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
python3 -m venv "$temporary/venv"
"$temporary/venv/bin/pip" install -q django==5.2.19 werkzeug==3.1.9 starlette==1.10.0 python-multipart==0.0.34 \
  requests==2.34.2

"$temporary/venv/bin/python" - <<'PYTHON' || { echo "The behaviour has changed." >&2 && exit 1; }
import asyncio, io, sys
from importlib.metadata import version
import django.conf, requests, starlette.requests, werkzeug
from django.core.handlers.wsgi import WSGIRequest

django.conf.settings.configure()

def environ(body, content_type):
    return {
        "REQUEST_METHOD": "POST", "SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http",
        "CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body),
    }

def by_django(*form):
    return WSGIRequest(environ(*form)).FILES["file"].name

def by_werkzeug(*form):
    return werkzeug.Request(environ(*form)).files["file"].filename

def by_starlette(body, content_type):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def name():
        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type.encode())]}
        return (await starlette.requests.Request(scope, receive).form())["file"].filename

    return asyncio.run(name())

expected = {"orders&regions.csv": "orders®ions.csv", "q&notes.txt": "q¬es.txt", "R&D.txt": "R&D.txt"}
print(*(f"{name} {version(name)}" for name in ("django", "werkzeug", "starlette")), sep=", ")
changed = False
for sent, arrived in expected.items():
    request = requests.Request("POST", "http://localhost/", files={"file": (sent, b"hello")}).prepare()
    form = request.body, request.headers["Content-Type"]
    seen = by_django(*form), by_werkzeug(*form), by_starlette(*form)
    print(f"{sent}: Django {seen[0]}, Werkzeug {seen[1]}, Starlette {seen[2]}")
    changed |= seen != (arrived, sent, sent)
sys.exit(changed)
PYTHON
