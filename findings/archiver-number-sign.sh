#!/usr/bin/env bash
# Node.js packages take patterns of files to leave out. A Synology NAS keeps deleted files in a folder `#recycle`, and
# small pictures in `@eaDir`. Both are left out of a site with `#recycle/**` and `@eaDir/**`.
#
# Guess: all packages leave both out; only lists of patterns in a file have comments.
# Seen: glob and fast-glob leave both out. archiver (its `glob`), copyfiles and multimatch leave out `@eaDir` alone,
# without a word: they use minimatch, which takes a pattern that begins with `#` for a comment, so that it matches
# nothing. glob uses minimatch too, and turns this off. `[#]recycle/**` works for all five.
#
# Needs Node.js 20 or later, with npm.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund archiver@8.0.0 copyfiles@2.4.1 fast-glob@3.3.3 glob@14.0.6 multimatch@8.0.0
mkdir -p 'site/#recycle' site/@eaDir
touch 'site/#recycle/old.html' site/@eaDir/small.jpg site/index.html

cat >run.mjs <<'JAVASCRIPT'
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { ZipArchive } from "archiver";
import fastGlob from "fast-glob";
import { glob } from "glob";
import multimatch from "multimatch";

const cwd = "site";
const readers = {
  glob: (ignore) => glob("**", { cwd, ignore, nodir: true }),
  "fast-glob": (ignore) => fastGlob("**", { cwd, ignore }),
  archiver: async (ignore) => {
    const names = [];
    const archive = new ZipArchive();
    archive.on("entry", (entry) => names.push(entry.name));
    archive.glob("**", { cwd, ignore, nodir: true });
    archive.resume();
    await archive.finalize();
    return names;
  },
  copyfiles: (ignore) => {
    const out = `../copies-${ignore[0].length}`;
    const options = ignore.flatMap((pattern) => ["-e", pattern]);
    execFileSync("../node_modules/.bin/copyfiles", [...options, "**/*", out], { cwd });
    return readdirSync(`site/${out}`, { recursive: true }).filter((name) => name.includes("."));
  },
  multimatch: async (ignore) => multimatch(await fastGlob("**", { cwd }), ["**", ...ignore.map((p) => `!${p}`)]),
};
const seen = [];
for (const [name, read] of Object.entries(readers)) {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`));
  for (const pattern of ["#recycle/**", "[#]recycle/**"]) {
    const names = (await read([pattern, "@eaDir/**"])).sort().join(" ");
    console.log(`${name} ${version}, without ${pattern} and @eaDir/**: ${names}`);
    seen.push(names);
  }
}
const site = "index.html";
const more = "#recycle/old.html index.html";
if (seen.join() !== [site, site, site, site, more, site, more, site, more, site].join()) {
  console.error("The behaviour has changed.");
  process.exit(1);
}
JAVASCRIPT
node run.mjs
