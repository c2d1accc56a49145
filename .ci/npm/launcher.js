#!/usr/bin/env node
// What npm puts on the PATH as `wx-upload`: runs the program, which the package for this system holds, with the same
// arguments, input and output. Ends with the program's exit status, or by the signal that ended it.
"use strict";
const { spawn } = require("child_process");

const system = `${process.platform}-${process.arch}`;
const { optionalDependencies } = require("./package.json");

function fail(english, chinese) {
  const { WX_LANG, LC_ALL, LC_MESSAGES, LANG } = process.env;
  const locale = WX_LANG || LC_ALL || LC_MESSAGES || LANG || Intl.DateTimeFormat().resolvedOptions().locale;
  console.error(`error: ${locale.startsWith("zh") ? chinese : english}`);
  process.exit(2); // nothing was attempted
}

function findProgram() {
  const name = `@wx-upload/${system}`;
  if (!(name in optionalDependencies)) {
    fail(`wx-upload has no program for ${system}`, `wx-upload 没有适用于 ${system} 的程序`);
  }
  try {
    return require.resolve(`${name}/wx-upload${process.platform === "win32" ? ".exe" : ""}`);
  } catch {
    return fail(
      `the package ${name} is not there. Install wx-upload again, on this system, without --omit=optional or --no-optional`,
      `缺少 ${name} 包。请在本机重新安装 wx-upload，不要使用 --omit=optional 或 --no-optional`,
    );
  }
}

const path = findProgram();
let program;
// Before the program starts, so that no signal ends the launcher alone.
for (const signal of ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"]) {
  process.on(signal, () => program.kill(signal));
}
// In its messages the program names itself as it was called.
program = spawn(path, process.argv.slice(2), { argv0: "wx-upload", stdio: "inherit" });
program.on("error", (error) => fail(`${path}: ${error.message}`, `${path}：${error.message}`));
program.on("exit", (status, signal) => {
  if (signal === null) {
    process.exitCode = status;
  } else {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  }
});
