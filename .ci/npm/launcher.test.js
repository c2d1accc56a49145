// Tests npm's launcher as it is installed: WX_UPLOAD_BIN is what npm puts on the PATH.
"use strict";
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { test } = require("node:test");

const launcher = process.env.WX_UPLOAD_BIN;

// A directory with a file to upload, and a config for an API at `port`.
function makeDirectory(t, port) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "launcher-"));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const config = { appid: "wx1", secret: "s", env: "prod-1", api_base: `http://127.0.0.1:${port}` };
  fs.writeFileSync(path.join(directory, "config.json"), JSON.stringify(config), { mode: 0o600 });
  fs.writeFileSync(path.join(directory, "小 猫.txt"), "miau");
  return directory;
}

// An API that answers each connection with `reply`, or never.
async function serve(t, reply) {
  const server = net.createServer();
  server.on("connection", (socket) => {
    socket.on("error", () => {}); // a killed program resets it
    t.after(() => socket.destroy());
    socket.on("data", () => reply && socket.end(reply));
  });
  t.after(() => server.close());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

// Copies the launcher to `directory`, without the packages beside it.
function copyLauncher(directory) {
  const from = path.dirname(fs.realpathSync(launcher));
  for (const file of ["launcher.js", "package.json"]) {
    fs.copyFileSync(path.join(from, file), path.join(directory, file));
  }
  return path.join(directory, "launcher.js");
}

// Starts a `program`, without the variables by which a tester's own language or account would be heard.
function start(program, args, cwd, variables) {
  const env = { PATH: process.env.PATH, LC_ALL: "C", ...variables };
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  const ran = { child, stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"]) {
    child[stream].setEncoding("utf8").on("data", (text) => (ran[stream] += text));
  }
  ran.ended = once(child, "close").then(([status, signal]) => ({ status, signal }));
  return ran;
}

test("the version, with exit status 0", async () => {
  const ran = start(launcher, ["--version"]);
  assert.deepEqual(await ran.ended, { status: 0, signal: null });
  assert.ok(ran.stdout.startsWith(`wx-upload ${process.env.VERSION} (`));
  assert.equal(ran.stderr, "");
});

test("arguments reach the program as they are", async (t) => {
  const ran = start(launcher, ["-n", "-t", "云 $HOME/*", "小 猫.txt"], makeDirectory(t, 9));
  assert.deepEqual(await ran.ended, { status: 0, signal: null });
  assert.match(ran.stdout, /云 \$HOME\/\*\/小 猫\.txt/);
});

test("a run that fails has exit status 1", async (t) => {
  const refusal = '{"errcode":40013,"errmsg":"invalid appid"}';
  const server = await serve(t, `HTTP/1.1 200 OK\r\nContent-Length: ${refusal.length}\r\n\r\n${refusal}`);
  const ran = start(launcher, ["小 猫.txt"], makeDirectory(t, server.address().port));
  assert.deepEqual(await ran.ended, { status: 1, signal: null });
  assert.match(ran.stderr, /40013/);
});

test("a command line that can't be used has exit status 2", async () => {
  const ran = start(launcher, ["--no-such-option"]);
  assert.deepEqual(await ran.ended, { status: 2, signal: null });
  assert.match(ran.stderr, /no-such-option/);
});

for (const signal of ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"]) {
  test(`${signal} to the launcher ends the program, and the launcher by that signal`, async (t) => {
    const server = await serve(t);
    const ran = start(launcher, ["小 猫.txt"], makeDirectory(t, server.address().port));
    const [socket] = await once(server, "connection");
    ran.child.kill(signal);
    await once(socket, "close");
    assert.deepEqual(await ran.ended, { status: null, signal });
  });
}

for (const [signal, ended] of [
  ["SIGKILL", { status: null, signal: "SIGKILL" }],
  // node itself does not end by these.
  ["SIGPIPE", { status: 128 + os.constants.signals.SIGPIPE, signal: null }],
  ["SIGXFSZ", { status: 128 + os.constants.signals.SIGXFSZ, signal: null }],
  ["SIGUSR1", { status: 128 + os.constants.signals.SIGUSR1, signal: null }],
]) {
  test(`${signal} that ends the program ends the launcher`, async (t) => {
    // A program that is ended by this signal, whatever its parent ignores.
    const directory = makeDirectory(t, 9);
    const program = path.join(directory, "node_modules", "@wx-upload", `${process.platform}-${process.arch}`, "wx-upload");
    fs.mkdirSync(path.dirname(program), { recursive: true });
    fs.writeFileSync(program, `#!/bin/sh\nkill -${signal.slice(3)} $$\n`, { mode: 0o755 });
    const ran = start(copyLauncher(directory), [], directory);
    assert.deepEqual(await ran.ended, ended);
    assert.equal(ran.stderr, "");
  });
}

const english = /^error: the package @wx-upload\/\S+ is missing: install .*\n$/;
const chinese = /^error: 缺少 @wx-upload\/\S+ 包：请.*\n$/;
for (const [variables, message] of [
  [{}, english],
  [{ LC_ALL: "zh_CN.UTF-8" }, chinese],
  [{ LC_ALL: "", LANG: "zh_TW.UTF-8" }, chinese],
  [{ LC_ALL: "", LC_MESSAGES: "en_US.UTF-8", LANG: "zh_CN.UTF-8" }, english],
  [{ LC_ALL: "zh_CN.UTF-8", WX_LANG: "en" }, english],
  [{ WX_LANG: "zh" }, chinese],
]) {
  test(`without the package for this system: what helps, with ${JSON.stringify(variables)}`, async (t) => {
    const directory = makeDirectory(t, 9);
    const ran = start(copyLauncher(directory), ["--version"], directory, variables);
    assert.deepEqual(await ran.ended, { status: 2, signal: null });
    assert.match(ran.stderr, message);
    assert.equal(ran.stdout, "");
  });
}

test("a program that can't be run: its path, and why", async (t) => {
  const directory = makeDirectory(t, 9);
  const program = path.join(directory, "node_modules", "@wx-upload", `${process.platform}-${process.arch}`, "wx-upload");
  fs.mkdirSync(path.dirname(program), { recursive: true });
  fs.writeFileSync(program, "", { mode: 0o644 });
  const ran = start(copyLauncher(directory), ["--version"], directory);
  assert.deepEqual(await ran.ended, { status: 2, signal: null });
  assert.match(ran.stderr, /^error: \/\S+\/wx-upload: .*EACCES\n$/);
});

test("on a system that has no package: its name", async (t) => {
  const directory = makeDirectory(t, 9);
  const elsewhere = path.join(directory, "elsewhere.js");
  fs.writeFileSync(elsewhere, 'Object.defineProperty(process, "arch", { value: "riscv64" })');
  const ran = start(launcher, ["--version"], directory, { NODE_OPTIONS: `--require=${elsewhere}` });
  assert.deepEqual(await ran.ended, { status: 2, signal: null });
  assert.equal(ran.stderr, `error: there is no wx-upload for ${process.platform}-riscv64\n`);
});
