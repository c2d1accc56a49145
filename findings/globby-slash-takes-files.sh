#!/usr/bin/env bash
# A line `build/` in a `.gitignore` stands for folders alone: the slash says so. A project has a folder `build`, and a
# script `tools/build`. Packages for Node.js and Python say which files Git would leave out.
#
# Guess: all agree with Git: the folder is left out, and the script is not.
# Seen: ignore, ignore-walk, pathspec and igittigitt do. globby (with `gitignore: true`) and gitignore-parser leave
# out the script, too. So a tool that uploads or packs what they list drops a file that Git keeps.
#
# Needs Git, and Node.js 20 or later, with npm.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund globby@16.2.4 ignore@7.0.17 ignore-walk@8.0.0
python3 -m venv venv
venv/bin/pip install -q pathspec==1.1.1 gitignore-parser==0.1.13 igittigitt==2.3.1
mkdir -p project/build project/tools
touch project/build/page.html project/index.html project/tools/build
echo build/ >project/.gitignore
git init -q project

cat >run.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { globby } from "globby";
import ignore from "ignore";
import walk from "ignore-walk";

const all = ["build/page.html", "index.html", "tools/build"];
const readers = {
  globby: () => globby("**", { cwd: "project", gitignore: true }),
  ignore: () => ignore().add(readFileSync("project/.gitignore", "utf8")).filter(all),
  "ignore-walk": async () => {
    const names = await walk({ path: "project", ignoreFiles: [".gitignore"] });
    return names.filter((name) => !name.startsWith(".git"));
  },
};
for (const [name, read] of Object.entries(readers)) {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`));
  console.log(`${name} ${version}: ${(await read()).sort().join(" ")}`);
}
JAVASCRIPT
cat >run.py <<'PYTHON'
import os
from importlib.metadata import version
from pathlib import Path
import gitignore_parser, igittigitt, pathspec

project = Path("project").resolve()
spec = pathspec.GitIgnoreSpec.from_lines((project / ".gitignore").read_text().splitlines())
leaves_out = gitignore_parser.parse_gitignore(project / ".gitignore")
parser = igittigitt.IgnoreParser()
parser.parse_rule_files(project)

def list_files(leaves_out):
    """Returns the files that remain. A folder that is left out is not entered."""
    names = []
    for folder, folders, files in os.walk(project):
        folders[:] = [name for name in folders if name != ".git" and not leaves_out(Path(folder, name))]
        names += [Path(folder, name) for name in files if name != ".gitignore" and not leaves_out(Path(folder, name))]
    return " ".join(sorted(str(name.relative_to(project)) for name in names))

def by_pathspec(path):
    return spec.match_file(str(path.relative_to(project)) + "/" * path.is_dir())

for name, rule in {"pathspec": by_pathspec, "igittigitt": parser.match, "gitignore-parser": leaves_out}.items():
    print(f"{name} {version(name)}: {list_files(rule)}")
PYTHON
{
  echo "$(git --version | sed 's/version //'): $(git -C project ls-files -o --exclude-standard -x .gitignore | xargs)"
  node run.mjs
  venv/bin/python run.py
} | tee seen.txt
kept="index.html tools/build"
for name in git ignore ignore-walk pathspec igittigitt; do grep -q "^$name .*: $kept$" seen.txt || changed=yes; done
for name in globby gitignore-parser; do grep -q "^$name .*: index.html$" seen.txt || changed=yes; done
if [[ -n ${changed:-} ]]; then
  echo "The behaviour has changed." >&2
  exit 1
fi
