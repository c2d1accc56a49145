#!/usr/bin/env node
// What npm puts on the PATH as `wx-upload`: runs the program, which the package for this system holds, with the same
// arguments, input and output. Ends with the program's exit status, or by the signal that ended it. Where node does not
// end by that signal, the status is 128 and its number, as a shell has it.
"use strict";
const { spawn } = require("child_process");
const { constants } = require("os");
const { optionalDependencies } = require("./package.json");

const system = `${process.platform}-${process.arch}`;
const name = `@wx-upload/${system}`;

// Nothing was attempted: the program's own exit status for that.
function complain(english, chinese) {
  const { WX_LANG, LC_ALL, LC_MESSAGES, LANG } = process.env;
  const locale = WX_LANG || LC_ALL || LC_MESSAGES || LANG || Intl.DateTimeFormat().resolvedOptions().locale;
  console.error(`error: ${locale.startsWith("zh") ? chinese : english}`);
  process.exitCode = 2;
}

function findProgram() {
  try {
    return require.resolve(`${name}/wx-upload${process.platform === "win32" ? ".exe" : ""}`);
  } catch {
    return null;
  }
}

function run(path) {
  let program;
  // Before the program starts, so that no signal ends the launcher alone.
  for (const signal of ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"]) {
    process.on(signal, () => program.kill(signal));
  }
  // Its messages show the command as it was typed.
  program = spawn(path, process.argv.slice(2), { argv0: "wx-upload", stdio: "inherit" });
  program.on("error", (error) => complain(`${path}: ${error.message}`, `${path}：${error.message}`));
  program.on("exit", (status, signal) => {
    if (signal === null) {
      process.exitCode = status;
    } else {
      process.exitCode = 128 + constants.signals[signal];
      process.removeAllListeners(signal);
      if (signal !== "SIGUSR1") { // it makes node listen for a debugger
        process.kill(process.pid, signal);
      }
    }
  });
}

const path = findProgram();
if (path) {
  run(path);
} else if (name in optionalDependencies) {
  complain(
    `the package ${name} is missing: install wx-upload again, on this system, with the file of that package if you install from files, and without --omit=optional or --no-optional`,
    `缺少 ${name} 包：请在本机重新安装 wx-upload；从文件安装时，要同时安装这个包的文件；不要使用 --omit=optional 或 --no-optional`,
  );
} else {
  complain(`there is no wx-upload for ${system}`, `wx-upload 不支持 ${system}`);
}
