//! In Chinese: what the program says about the command line, the config, the files that it lists, and
//! its results. Each kind of message once.

#[cfg(unix)]
use std::ffi::OsStr;
use std::fs;
#[cfg(unix)]
use std::fs::File;
use std::num::NonZeroU16;
#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;
#[cfg(unix)]
use std::os::unix::fs::{chown, symlink};
#[cfg(unix)]
use std::os::unix::process::CommandExt;

use serde_json::{Value, json};

use crate::harness::{
    PATIENCE, World, file_id, key, not_on_windows, not_under_wine, read_line, spawn,
};
#[cfg(unix)]
use crate::harness::{Ran, Streams, binary, spawn_with};
#[cfg(unix)]
use crate::unix::{ProgramForAll, after, is_root, make_fifo, set_mode, world_for_all};
use stand_in::{ENV, Fault, Step, When};

/// Runs the program in Chinese, as if its user had typed `./wx-upload`.
#[cfg(unix)]
fn run_typed(world: &World, arguments: &[&str]) -> Ran {
    let mut command = world.command_in_chinese(arguments);
    command.arg0("./wx-upload");
    world.finish(command)
}

// ---- The command line ---------------------------------------------------------------------------

#[test]
fn help_fits_a_screen_of_80_columns_and_24_rows_in_both_languages() {
    let world = World::http();
    let mut options = Vec::new();
    for (language, usage) in [
        ("en", "Usage: wx-upload ["),
        ("zh", "用法：wx-upload [选项] [路径]..."),
    ] {
        let mut command = world.command(["--help"]);
        command.env("WX_LANG", language);
        let help = world.finish(command).stdout;
        assert!(help.contains(usage), "{help}");
        // The prompt of the shell takes a row, too.
        let [rows, columns] = [24, 80].map(|n| NonZeroU16::new(n).unwrap());
        let mut screen = vt100::Parser::new(rows, columns, 0);
        screen.process(format!("{help}$").replace('\n', "\r\n").as_bytes());
        let rows: Vec<_> = screen.screen().rows(0, 80).collect();
        let seen = rows.join("\n");
        assert_eq!(seen.trim_end(), format!("{help}$"));
        // The options have the same order and names.
        let is_option = |line: &&str| line.trim_start().starts_with('-');
        let names = |line: &str| line[..25].trim_end().to_owned();
        options.push(
            help.lines()
                .filter(is_option)
                .map(names)
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(options[0].len(), 14);
    assert_eq!(options[0], options[1]);
}

#[cfg(unix)]
#[test]
fn a_bad_command_line_is_refused_in_chinese() {
    if not_under_wine("the name by which the program was called") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    let cases: [(&[&str], &str); 15] = [
        (&["--unknown"], "无法识别的选项“--unknown”"),
        (&["-y"], "无法识别的选项“-y”"),
        (
            &["-x", "./"],
            "--exclude: 不能为空，请写明模式，如 \"*.psd\"",
        ),
        (
            &["-x", "*.{a,b}"],
            "--exclude “*.{a,b}”：不支持 {a,b}，请分别写成多个 --exclude",
        ),
        (
            &["-x", "[a"],
            "--exclude “[a”不是有效的模式：** 只能单独占一级目录，[ 要有配对的 ]",
        ),
        (&["--config"], "--config 后面缺少参数"),
        (&["--dry-run=yes"], "--dry-run 不接受参数，却写了“yes”"),
        (&["-j", "65"], "--jobs 应为 1 到 64 的整数，而不是“65”"),
        (&["--retries=x"], "--retries 应为 0 到 10 的整数，而不是“x”"),
        (
            &["-f", "xml"],
            "--format 应为 text、url、markdown 或 json，而不是“xml”",
        ),
        (&["-c", ""], "--config: 不能为空，请写明文件名"),
        (&[""], "路径: 不能为空，请写明文件名"),
        (&["help"], "没有名为“help”的文件或目录，因此什么也没有上传"),
        (&["upload"], "“upload”后面没有路径，因此什么也没有上传"),
        (&["帮助"], "没有名为“帮助”的文件或目录，因此什么也没有上传"),
    ];
    for (arguments, told) in cases {
        let ran = run_typed(&world, arguments);
        let help = "详见 `./wx-upload --help`\n";
        world.assert_refused(&ran, &[&format!("error: {told}"), help]);
    }
    let mut command = world.command_in_chinese(["-t"]);
    command.arg(OsStr::from_bytes(b"a\xff"));
    let ran = world.finish(command);
    world.assert_refused(
        &ran,
        &[r#"error: 参数 "a\xFF" 不是有效的 Unicode 文本；详见 "#],
    );
}

#[test]
fn a_bad_cloud_folder_is_refused_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    let ran = world.run_in_chinese(["-t", "a//b", "a.txt"]);
    world.assert_refused(&ran, &["error: --to 为“a//b”："]);
    world.configure(json!({ "upload_path": "a//b" }));
    let ran = world.run_in_chinese(["a.txt"]);
    world.assert_refused(&ran, &["error: ./config.json: `upload_path` 为“a//b”："]);
}

// ---- The config ---------------------------------------------------------------------------------

#[test]
fn bad_values_in_the_config_are_told_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    let cases = [
        (json!({ "env": 1 }), "`env` 应为带引号的文本"),
        (
            json!({ "auth": "x" }),
            "`auth` 应为 token、stable_token 或 none",
        ),
        (json!({ "max_age": "1" }), "`max_age` 应为整数秒，至少为 1"),
        (
            json!({ "cache_control": "缓存" }),
            "`cache_control` 应为一行 ASCII 文本，如 \"max-age=3600\"",
        ),
        (
            json!({ "api_base": "weixin" }),
            "`api_base` 应形如 https://api.weixin.qq.com",
        ),
        (
            json!({ "api_base": "http://x.test" }),
            "`api_base` 为 http://x.test：http 是明文，沿途任何人都能读到 AppSecret：请使用 https",
        ),
    ];
    for (changes, told) in cases {
        world.configure(changes);
        let ran = world.run_in_chinese(["a.txt"]);
        world.assert_refused(&ran, &[&format!("error: ./config.json: {told}\n")]);
    }
}

#[test]
fn missing_keys_are_told_in_chinese_with_their_places() {
    let world = World::with_files(&["a.txt"]);
    let account = "AppID 和 AppSecret 在 mp.weixin.qq.com → 管理 → 开发管理 → 开发设置中；AppSecret \
                   只在生成或重置时显示一次，重置后旧的立即失效";
    let env = "环境 ID 形如 prod-…，在 cloud.weixin.qq.com/cloudrun 查看";
    let cases = [
        (
            json!({ "appid": "", "secret": "", "env": "" }),
            "`appid`、`secret` 和 `env`",
            "WX_APPID、WX_SECRET 和 WX_ENV",
            format!("{account}；{env}"),
        ),
        (
            json!({ "appid": "", "secret": "" }),
            "`appid` 和 `secret`",
            "WX_APPID 和 WX_SECRET",
            account.to_owned(),
        ),
        (json!({ "env": "" }), "`env`", "WX_ENV", env.to_owned()),
    ];
    for (changes, keys, variables, places) in cases {
        world.configure(changes);
        let ran = world.run_in_chinese(["a.txt"]);
        let told =
            format!("error: ./config.json: 缺少 {keys}：请填写，或设置 {variables}（{places}）\n");
        world.assert_refused(&ran, &[&told]);
    }
}

#[test]
fn a_secret_of_the_environment_that_is_not_sent_is_told_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "secret": "", "api_base": "https://x.test" }));
    let mut command = world.command_in_chinese(["a.txt"]);
    command.env("WX_SECRET", "secret-of-the-environment");
    let told = "error: ./config.json: `api_base` 为 https://x.test，环境变量 WX_SECRET 不会发往该地址：\
                如果确实要发往那里，请同时设置 WX_API_BASE=https://x.test\n";
    world.assert_refused(&world.finish(command), &[told]);
}

#[test]
fn a_missing_account_is_told_in_chinese_when_a_token_is_refused() {
    let world = World::with_files(&["a.txt"]);
    world.save_token("old-token", json!({ "secret": "" }));
    world.stand_in.kill_tokens();
    let told =
        "获取access token失败: ./config.json: 缺少 `appid` 或 `secret`：AppID 和 AppSecret 在";
    world
        .run_in_chinese(["a.txt"])
        .assert_failure(1, &[told, "；运行已中止\n"]);
}

#[cfg(unix)]
#[test]
fn a_config_that_is_not_there_is_told_in_chinese_with_the_command_that_helps() {
    if not_under_wine("the name by which the program was called") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    fs::remove_file(world.path("config.json")).unwrap();
    let here = world.dir.path().canonicalize().unwrap().join("config.json");
    let beside = binary()
        .canonicalize()
        .unwrap()
        .with_file_name("config.json");
    let (here, beside) = (here.display(), beside.display());
    let ran = run_typed(&world, &["a.txt"]);
    let told = format!(
        "error: 没有配置文件（{here} 和 {beside} 都不存在）：用 `./wx-upload --init` 生成一个，再填写；\
         也可以设置 WX_APPID、WX_SECRET 和 WX_ENV\n"
    );
    world.assert_refused(&ran, &[&told]);
    let ran = run_typed(&world, &["-c", "x.json", "a.txt"]);
    let told =
        "error: x.json: 没有这个文件：用 `./wx-upload --init -c x.json` 生成待填写的配置文件\n";
    world.assert_refused(&ran, &[told]);
}

#[test]
fn a_config_that_is_not_json_is_told_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let backslashes = r"路径里的每个 \ 要写成 / 或 \\";
    let cases: [(&[u8], String); 6] = [
        (
            b"{\n  \"env\": \"e\"\n  \"auth\": \"none\"\n}",
            "第 3 行第 3 列不是有效的 JSON：请检查这一行和上一行的逗号、引号和括号，都要用半角"
                .into(),
        ),
        (b"{", "第 1 行第 1 列不是有效的 JSON：请检查".into()),
        (
            br#"{"upload_dir": "D:\pictures"}"#,
            format!("第 1 行第 20 列不是有效的 JSON：JSON 中，{backslashes}"),
        ),
        (
            b"{\"upload_dir\": \"D:\\\"\n}",
            format!("不是有效的 JSON：第 1 行缺少结尾的 \"，或者它前面有 \\：{backslashes}"),
        ),
        (
            &utf16,
            "是 UTF-16 编码（旧版记事本称为“Unicode”）：请另存为，编码选 UTF-8".into(),
        ),
        (
            b"[]",
            "不是 JSON 对象：应形如 { \"appid\": \"wx…\", … }".into(),
        ),
    ];
    for (bytes, told) in cases {
        world.file("config.json", bytes);
        let ran = world.run_in_chinese(["a.txt"]);
        world.assert_refused(&ran, &[&format!("error: ./config.json: {told}")]);
    }
    let ran = world.run_in_chinese(["-c", ".", "a.txt"]);
    world.assert_refused(&ran, &["error: .: 无法读取："]);
}

#[test]
fn init_speaks_chinese() {
    let world = World::http();
    let ran = world.run_in_chinese(["--init", "-c", "new.json"]);
    let told = "已生成 new.json：请填写 `appid`、`secret` 和 `env`\n";
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), told));
    let ran = world.run_in_chinese(["--init", "-c", "new.json"]);
    let told = "error: new.json 已存在，未作改动：请直接编辑它，或用 -c 指定别的文件\n";
    world.assert_refused(&ran, &[told]);
    let ran = world.run_in_chinese(["--init", "-c", "no/new.json"]);
    let told = "error: no/new.json: 它的目录不存在：请先创建";
    world.assert_refused(&ran, &[told]);
}

// ---- The files ----------------------------------------------------------------------------------

#[test]
fn paths_that_cannot_be_listed_are_told_in_chinese() {
    let world = World::with_files(&["a.txt", "x/a.txt"]);
    let other = "cloud://other-1g.6f74-other-1g-1300000000/a.txt";
    let of_other = format!("该文件在环境 other-1g 中，而 `env` 为 {ENV}：请使用该环境的配置文件\n");
    let cases: [(&str, &str); 4] = [
        ("no.txt", "没有这个文件或目录（os error "),
        (
            "*.txt",
            "）：shell 没有把 * 展开成文件名（Windows 上从不展开）：请直接写目录名\n",
        ),
        (
            "cloud://x",
            "不是 file_id，应形如 cloud://ENV.BUCKET/PATH\n",
        ),
        (other, &of_other),
    ];
    for (path, told) in cases {
        let ran = world.run_in_chinese([path]);
        world.assert_refused(&ran, &[&format!("error: {path}: "), told]);
    }
    let ran = world.run_in_chinese(["a.txt", "x/a.txt"]);
    let names = ["a.txt", "x/a.txt"].map(|name| world.path(name).canonicalize().unwrap());
    let told = format!(
        "error: {} 和 {} 的云端文件名都会是 temp3/a.txt：请改名，或用不同的 -t 分别上传，或加上 --unique\n",
        names[0].display(),
        names[1].display()
    );
    world.assert_refused(&ran, &[&told]);
}

#[test]
fn a_fixed_directory_that_is_not_there_is_told_in_chinese() {
    let world = World::http();
    world.configure(json!({ "upload_dir": "附件" }));
    let ran = world.run_in_chinese([""; 0]);
    let help = "）：请写明要上传的文件，或改正 ./config.json 中的 `upload_dir`\n";
    world.assert_refused(&ran, &["/附件: 没有这个文件或目录（os error ", help]);
    world.configure(json!({ "upload_dir": "D:\temp" }));
    let ran = world.run_in_chinese([""; 0]);
    let help = r"）：./config.json: JSON 中，路径里的每个 \ 要写成 / 或 \\";
    world.assert_refused(&ran, &[r"\u0009emp: ", help]);
}

#[cfg(unix)]
#[test]
fn skipped_files_are_noted_in_chinese() {
    if not_on_windows("FIFOs and devices") {
        return;
    }
    let world = World::with_files(&[
        "files/a",
        "files/sub/b",
        "files/.hidden/c",
        "files/@eaDir/d",
        "outside",
    ]);
    make_fifo(&world.path("files/fifo"));
    symlink("a", world.path("files/link to a")).unwrap();
    symlink("sub", world.path("files/link to sub")).unwrap();
    symlink(".hidden/c", world.path("files/link to c")).unwrap();
    symlink("../outside", world.path("files/link out")).unwrap();
    let ran = world.run_in_chinese(["-n", "-r", "files"]);
    for (name, why) in [
        (".hidden", "是隐藏的（要上传，请写明路径）"),
        ("@eaDir", "是系统生成的（要上传，请写明路径）"),
        ("fifo", "不是普通文件"),
        ("link out", "指向目录之外的链接（要上传，请写明路径）"),
        ("link to a", "与 files/a 是同一个文件"),
        (
            "link to c",
            "指向隐藏文件或系统文件的链接（要上传，请写明路径）",
        ),
        (
            "link to sub",
            "指向目录的链接（要上传其中的文件，请写明路径）",
        ),
    ] {
        let told = format!("note: files/{name}: 已跳过：{why}\n");
        ran.assert_failure(0, &[&told]);
    }
    let told = "note: files/sub: 已跳过：是目录（要上传其中的文件，请加上 -r）\n";
    world
        .run_in_chinese(["-n", "files"])
        .assert_failure(0, &[told]);
}

#[test]
fn many_skipped_paths_share_a_note_in_chinese() {
    let world = World::http();
    for n in 10..22 {
        world.file(format!("files/{n}/a"), "a");
    }
    let ran = world.run_in_chinese(["-n", "files"]);
    let told = "note: files/10 和另外 11 项：已跳过：是目录（要上传其中的文件，请加上 -r）\n\
                note: 没有要上传的文件\n\
                将上传 0 个（0 B），跳过 12 个\n";
    assert_eq!(ran.stderr, told);
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf8_is_told_in_chinese() {
    if not_on_windows("names that are not Unicode") {
        return;
    }
    use std::os::unix::ffi::OsStrExt;
    let world = World::http();
    fs::create_dir(world.path("files")).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"files/a\xff");
    fs::write(world.path(name), "a").unwrap();
    let told = "上传文件失败: 文件名不是 UTF-8：请改名\n";
    world.run_in_chinese(["files"]).assert_failure(1, &[told]);
}

// ---- Notes --------------------------------------------------------------------------------------

#[cfg(unix)]
#[test]
fn secrets_that_everybody_can_read_are_noted_in_chinese() {
    if not_on_windows("permissions") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    set_mode(&world.path("config.json"), 0o644);
    let mend = "：请执行 chmod o-r './config.json'\n";
    let told = format!("note: ./config.json: 本机所有用户都能读到其中的 `secret`{mend}");
    world
        .run_in_chinese(["-n", "a.txt"])
        .assert_failure(0, &[&told]);
    world.configure(json!({ "secret": "", "access_token": "old-token" }));
    set_mode(&world.path("config.json"), 0o644);
    let told = format!("note: ./config.json: 本机所有用户都能读到其中保存的 access_token{mend}");
    world
        .run_in_chinese(["-n", "a.txt"])
        .assert_failure(0, &[&told]);
}

#[test]
fn a_new_token_without_auth_is_noted_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "auth": null }));
    let told = "note: ./config.json: 没有设置 `auth`，获取新的 access_token 会使其他程序（同一 `appid`）的 \
                access_token 失效：设为 \"auth\": \"stable_token\" 则互不影响\n";
    world.run_in_chinese(["a.txt"]).assert_failure(0, &[told]);
}

#[test]
fn a_wait_for_another_run_is_noted_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    world.stand_in.fault(Step::Token, When::Always, Fault::Hold);
    let first = spawn(world.command_in_chinese(["-t", "1", "a.txt"]));
    assert!(world.stand_in.wait_for(Step::Token, 1, PATIENCE));
    let mut second = spawn(world.command_in_chinese(["-t", "2", "a.txt"]));
    let note = read_line(second.stderr.as_mut().unwrap());
    world.stand_in.open_gate();
    for child in [first, second] {
        world.wait(child).assert_success();
    }
    assert_eq!(note, "note: 正在等待另一个 wx-upload 获取 access_token\n");
}

// ---- Replies that are odd -----------------------------------------------------------------------

/// Checks that the upload of the file `a.txt` fails like this, if the reply of a step is edited.
fn assert_odd(step: Step, told: &str, edit: impl Fn(&mut Value) + Send + Sync + 'static) {
    let world = World::with_files(&["a.txt"]);
    world.stand_in.fault(step, When::Always, Fault::edit(edit));
    let ran = world.run_in_chinese(["--retries", "0", "a.txt"]);
    ran.assert_failure(1, &[told]);
}

#[test]
fn odd_replies_are_told_in_chinese() {
    assert_odd(
        Step::Token,
        "获取access token失败: 应答中没有可用的 `expires_in`；运行已中止\n",
        |reply| reply["expires_in"] = json!(0),
    );
    assert_odd(
        Step::Info,
        "error: a.txt: 获取文件上传链接失败: 应答中的 `file_id` 不是此文件的\n",
        |reply| reply["file_id"] = "x".into(),
    );
    let uploaded = format!("；文件已上传，file_id 为 {}\n", file_id("a.txt"));
    let assert_odd_link = |why: &str, edit: fn(&mut Value)| {
        let told = format!("error: a.txt: 获取下载链接失败: {why}{uploaded}");
        assert_odd(Step::Link, &told, edit);
    };
    assert_odd_link("应答中没有它的链接", |reply| {
        reply["file_list"] = json!([])
    });
    assert_odd_link("应答中没有可用的 `status`", |reply| {
        reply["file_list"][0]["status"] = "0".into();
    });
    assert_odd_link("应答中的链接不是 http 或 https 地址", |reply| {
        reply["file_list"][0]["download_url"] = "javascript:x".into();
    });
    assert_odd_link("链接超过 8 KiB", |reply| {
        reply["file_list"][0]["download_url"] = format!("https://x/{}", "x".repeat(9000)).into();
    });
}

#[test]
fn a_wrong_checksum_is_told_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    let other = Fault::headers(&[("x-cos-hash-crc64ecma", Some("1"))]);
    world.stand_in.fault(Step::Upload, When::Always, other);
    let ran = world.run_in_chinese(["--retries", "0", "a.txt"]);
    let told = "error: a.txt: 上传文件失败: COS 存下的内容与发送的不一致（CRC-64）\n";
    ran.assert_failure(1, &[told]);
}

#[test]
fn objects_that_the_api_does_not_find_are_told_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    world.stand_in.hide_new_objects(9);
    let ran = world.run_in_chinese(["--retries", "0", "a.txt"]);
    let told = format!(
        "error: a.txt: 获取下载链接失败: COS 已收下文件，但 API 还查不到（STORAGE_FILE_NONEXIST）：\
         请稍后再试，以 file_id 为路径获取链接；file_id 为 {}\n",
        file_id("a.txt")
    );
    ran.assert_failure(1, &[&told]);
    let gone = file_id("gone.txt");
    let told = format!(
        "error: {gone}: 获取下载链接失败: 云端没有这个文件（STORAGE_FILE_NONEXIST）：请检查 file_id\n"
    );
    world.run_in_chinese([&gone]).assert_failure(1, &[&told]);
}

// ---- The report ---------------------------------------------------------------------------------

#[test]
fn the_summary_is_in_chinese() {
    let world = World::with_files(&["files/a", "files/b", "files/c", "files/sub/d"]);
    let refuse = Fault::cos_error(400, "EntityTooLarge");
    world.stand_in.fault(Step::Upload, key("b"), refuse);
    let ran = world.run_in_chinese(["files"]);
    let start = "上传 2 个（14 B），跳过 1 个，失败 1 个，用时 ";
    let summary = ran.summary();
    let seconds = summary.strip_prefix(start).expect(summary);
    let seconds = seconds.strip_suffix(" 秒").expect(seconds);
    let (whole, tenth) = seconds.split_once('.').expect(seconds);
    assert!(
        whole.parse::<u32>().is_ok() && tenth.len() == 1,
        "{seconds}"
    );
}

#[test]
fn the_summary_counts_unchanged_files_and_links_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    let id = file_id("a.txt");
    let arguments = ["--manifest", "sent.jsonl", "a.txt"];
    world.run(arguments).assert_success();
    let ran = world.run_in_chinese(arguments.iter().chain(&[id.as_str()]));
    let start = "上传 0 个（0 B），未变 1 个，链接 1 个，用时 ";
    assert!(ran.summary().starts_with(start), "{}", ran.stderr);
}

#[test]
fn the_list_of_a_dry_run_ends_in_chinese() {
    let world = World::with_files(&["a.txt", "b.txt"]);
    let ran = world.run_in_chinese(["-n", "a.txt", "b.txt"]);
    assert_eq!(ran.stderr, "将上传 2 个（10 B）\n");
}

#[test]
fn a_failure_that_was_told_before_is_not_repeated_in_chinese() {
    let world = World::with_files(&["a.txt", "b.txt"]);
    let refuse = Fault::status(404, &[], "");
    world.stand_in.fault(Step::Info, When::Always, refuse);
    let ran = world.run_in_chinese(["-j1", "a.txt", "b.txt"]);
    ran.assert_failure(1, &["error: b.txt: 获取文件上传链接失败: 同上\n"]);
}

#[test]
fn a_run_that_is_stopped_says_so_in_chinese() {
    let world = World::with_many(20);
    let refuse = Fault::Errcode(40097);
    world.stand_in.fault(Step::Info, When::Always, refuse);
    let ran = world.run_in_chinese(["-j1", "files"]);
    ran.assert_failure(
        1,
        &["；运行已中止\n上传 0 个（0 B），失败 8 个，未处理 12 个，用时 "],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_standard_output_that_is_full_is_told_in_chinese() {
    if not_on_windows("/dev/full") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    let run_into_full = |arguments: &[&str]| {
        let stdout = File::options().write(true).open("/dev/full").unwrap();
        let streams = Streams {
            stdout: stdout.into(),
            ..Streams::piped()
        };
        world.wait(spawn_with(streams, world.command_in_chinese(arguments)))
    };
    let full = "无法写入标准输出：磁盘已满（os error 28）";
    let ran = run_into_full(&["a.txt"]);
    let file_id = file_id("a.txt");
    let lost = format!("；已在云端但没有输出：1 个（{file_id}）");
    ran.assert_failure(1, &[&format!("error: {full}{lost}；运行已中止\n")]);
    for arguments in [["-n", "a.txt"].as_slice(), &["--help"]] {
        run_into_full(arguments).assert_failure(1, &[&format!("error: {full}\n")]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_system_without_threads_is_told_in_chinese() {
    if not_on_windows("ulimit") {
        return;
    }
    if !is_root() {
        return;
    }
    let program = ProgramForAll::new();
    let world = world_for_all(&["a.txt"]);
    let user = 50_100; // the limit counts all processes of a user
    chown(world.path("config.json"), Some(user), None).unwrap();
    let mut command = world.command_of(&program.path(), ["a.txt"]);
    command.env("WX_LANG", "zh");
    let limit = "ulimit -u 1 2>/dev/null || ulimit -p 1"; // in dash the option is -p
    let mut command = after(limit, &command);
    command.uid(user).gid(50_000);
    let ran = world.finish(command);
    let told = "error: 无法启动线程：暂时不可用（os error 11）；运行已中止\n";
    ran.assert_failure(1, &[told]);
}
