#!/usr/bin/env bash
# A program that uploads what changes watches a folder with all its subfolders. A folder with two files is moved in from
# beside it, as when a download is finished or an archive has been unpacked. Later it gets another name.
#
# Guess: Python's watchfiles and watchdog, and chokidar for Node.js, report the files that have come, under either name.
# Seen: watchdog and chokidar do. watchfiles reports the folder itself as "added", and none of its files, neither then
# nor later. After the change of the name it is the same: the old folder "deleted", the new one "added". A program that
# uploads the files of the report leaves these out. A file that is written in the folder afterwards is reported.
#
# Needs Node.js 20 or later, with npm, and Linux.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund chokidar@5.0.0
python3 -m venv venv
venv/bin/pip install -q watchfiles==1.3.0 watchdog==7.1.0

cat >watch.mjs <<'JAVASCRIPT'
import { relative } from "node:path";
import chokidar from "chokidar";

chokidar.watch(process.argv[2], { ignoreInitial: true })
  .on("all", (event, path) => console.log(`${event} ${relative(process.argv[2], path)}`))
  .on("ready", () => console.log("ready"));
process.stdin.on("end", () => process.exit()).resume(); // when the asker ends
JAVASCRIPT
cat >run.py <<'PYTHON'
import json, os, subprocess, sys, tempfile, threading, time
from importlib.metadata import version
from pathlib import Path
import watchfiles
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

reports = []

def with_watchfiles(folder):
    stop = threading.Event()
    def run():
        for changes in watchfiles.watch(folder, stop_event=stop):
            reports.extend(f"{kind.name} {os.path.relpath(path, folder)}" for kind, path in changes)
    threading.Thread(target=run, daemon=True).start()
    time.sleep(1)
    return stop.set

def with_watchdog(folder):
    class Handler(FileSystemEventHandler):
        def on_any_event(self, event):
            if event.event_type in ("created", "deleted", "moved", "modified"):
                path = event.dest_path or event.src_path
                reports.append(f"{event.event_type} {os.path.relpath(path, folder)}")
    observer = Observer()
    observer.schedule(Handler(), folder, recursive=True)
    observer.start()
    return observer.stop

def with_chokidar(folder):
    node = subprocess.Popen(["node", "watch.mjs", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    node.stdout.readline()
    threading.Thread(target=lambda: reports.extend(line.strip() for line in node.stdout), daemon=True).start()
    return node.stdin.close

changed = False
for name, release, start in [
    ("watchfiles", version("watchfiles"), with_watchfiles),
    ("watchdog", version("watchdog"), with_watchdog),
    ("chokidar", json.loads(Path("node_modules/chokidar/package.json").read_text())["version"], with_chokidar),
]:
    folder = Path(tempfile.mkdtemp(dir=".")).resolve()
    watched, other = folder / "watched", folder / "other"
    watched.mkdir()
    (other / "photos").mkdir(parents=True)
    for file in "one.png", "two.png":
        (other / "photos" / file).write_text(file)
    stop = start(str(watched))
    print(f"{name} {release}")
    for words, new_name, step in [
        ("moved in", "photos", lambda: (other / "photos").rename(watched / "photos")),
        ("another name", "pictures", lambda: (watched / "photos").rename(watched / "pictures")),
        ("a new file in it", "pictures", lambda: (watched / "pictures/new.png").write_text("new")),
    ]:
        reports.clear()
        step()
        time.sleep(3)
        seen = sorted(set(reports))
        print(f"  {words}: {', '.join(seen)}")
        paths = {report.split(" ", 1)[1] for report in seen if report.split()[0] not in ("deleted", "unlink")}
        if words == "a new file in it":
            changed |= "pictures/new.png" not in paths
        else:
            files = {f"{new_name}/one.png", f"{new_name}/two.png"}
            changed |= bool(paths & files) if name == "watchfiles" else not files <= paths
            changed |= new_name not in paths
    stop()
sys.stdout.flush()
if changed:
    print("The behaviour has changed.", file=sys.stderr)
os._exit(changed)
PYTHON
venv/bin/python run.py
