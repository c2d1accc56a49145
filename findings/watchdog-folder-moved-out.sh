#!/usr/bin/env bash
# A program that uploads what changes watches a folder with all its subfolders. A subfolder is moved out of it, to an
# archive beside it, where work on its files goes on.
#
# Guess: Python's watchdog and watchfiles report that the subfolder is gone, and nothing of what happens in it later.
# Seen: watchfiles does so. watchdog goes on to watch the archive: each change there is reported under the old path in
# the watched folder, where no such file exists. If the watched folder gets a subfolder of this name again, the reports
# of the two can't be told apart: a change in the archive is reported for a file that exists, and has not changed.
#
# For Linux.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q watchfiles==1.3.0 watchdog==7.1.0

venv/bin/python - <<'PYTHON'
import os, sys, tempfile, threading, time
from importlib.metadata import version
from pathlib import Path
import watchfiles
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

reports = set()

def with_watchfiles(folder):
    def run():
        for changes in watchfiles.watch(folder):
            reports.update(f"{kind.name} {os.path.relpath(path, folder)}" for kind, path in changes)
    threading.Thread(target=run, daemon=True).start()
    time.sleep(1)

def with_watchdog(folder):
    class Handler(FileSystemEventHandler):
        def on_any_event(self, event):
            if event.event_type in ("created", "deleted", "modified"):
                reports.add(f"{event.event_type} {os.path.relpath(event.src_path, folder)}")
    observer = Observer()
    observer.daemon = True
    observer.schedule(Handler(), folder, recursive=True)
    observer.start()

changed = False
for name, start in {"watchfiles": with_watchfiles, "watchdog": with_watchdog}.items():
    folder = Path(tempfile.mkdtemp(dir=".")).resolve()
    watched, archive = folder / "watched", folder / "archive"
    archive.mkdir()
    (watched / "2025").mkdir(parents=True)
    (watched / "2025/list.txt").write_text("old")
    start(str(watched))
    print(f"{name} {version(name)}")

    def again():
        (watched / "2025").mkdir()
        time.sleep(1)
        (watched / "2025/list.txt").write_text("another")

    for words, step in {
        "moved out": lambda: (watched / "2025").rename(archive / "2025"),
        "a file changed in the archive": lambda: (archive / "2025/list.txt").write_text("changed"),
        "a file of a new name in the archive": lambda: (archive / "2025/new.txt").write_text("new"),
        "the subfolder made again, with a file": again,
        "a file changed in the archive again": lambda: (archive / "2025/list.txt").write_text("changed again"),
    }.items():
        reports.clear()
        step()
        time.sleep(3)
        files = sorted(report for report in reports if report.endswith(".txt"))
        print(f"  {words}: {', '.join(sorted(reports)) or 'nothing reported'}")
        if "moved" in words:
            changed |= "deleted 2025" not in reports
        elif "again, with" in words:
            changed |= not any(report.endswith("2025/list.txt") for report in files)
        else:
            file = "new.txt" if "new name" in words else "list.txt"
            changed |= files != [] if name == "watchfiles" else f"modified 2025/{file}" not in files
sys.stdout.flush()
if changed:
    print("The behaviour has changed.", file=sys.stderr)
os._exit(changed)
PYTHON
