//! Where the config is, and what helps if there is none, or if it is not JSON.
//!
//! Does not know the keys of a config.

use std::env;
use std::path::{self, Path, PathBuf};

use crate::disk::is_missing;
use crate::options::{Options, command_to_type, shell_word};

/// What helps if a `\` in a text was lost, or was taken for the beginning of an escape.
pub const BACKSLASHES: &str = r"in JSON, write / or \\ for each \ of a path";

/// Returns the path of the config. It is the one that `-c` names. Without `-c` it is the one in the
/// current directory, or else the one beside the program. The error is a sentence with the command
/// that helps.
pub fn find_config(options: &Options) -> Result<PathBuf, String> {
    let config = &options.config;
    if !is_missing(config) {
        return Ok(config.clone());
    }
    if options.has_named_config {
        let name = shell_word(config.as_os_str()).unwrap_or_else(|| "…".to_owned());
        let command = command_to_type(&format!("--init -c {name}"));
        return Err(format!(
            "{}: there is no such file: `{command}` writes a config to fill in",
            config.display()
        ));
    }
    let here = path::absolute(config).unwrap_or_else(|_| config.clone());
    let places = match beside_program(config) {
        Some(beside) if !is_missing(&beside) => return Ok(beside),
        Some(beside) if beside != here => {
            format!("neither {} nor {}", here.display(), beside.display())
        }
        _ => here.display().to_string(),
    };
    let command = command_to_type("--init");
    Err(format!(
        "there is no config, {places}: `{command}` writes one to fill in"
    ))
}

/// Returns the path of the config in the directory of the program itself. Links to the program are
/// followed.
fn beside_program(config: &Path) -> Option<PathBuf> {
    let program = env::current_exe().ok()?.canonicalize().ok()?;
    let beside = program.with_file_name(config.file_name()?);
    // Windows puts `\\?\` before a real path, which users do not type.
    match beside.to_str()?.strip_prefix(r"\\?\") {
        Some(plain) if !plain.starts_with("UNC") => Some(plain.into()),
        _ => Some(beside),
    }
}

/// Returns the words for a config that is not JSON.
pub fn why_not_json(config: &[u8], error: &serde_json::Error) -> String {
    let has_utf16_mark = config.starts_with(b"\xff\xfe") || config.starts_with(b"\xfe\xff");
    if has_utf16_mark || config.iter().take(2).any(|&byte| byte == 0) {
        return "is in UTF-16, which Windows also calls Unicode: save it as UTF-8 (另存为, 编码 UTF-8)"
            .to_owned();
    }
    let error = error.to_string();
    let hint = if error.starts_with("invalid escape") {
        BACKSLASHES
    } else if error.starts_with("control character") {
        // The text goes on behind the end of the line.
        r#"a closing " is missing, or there is a \ before it: write / or \\ for each \ of a path"#
    } else {
        "no // comments; save it as UTF-8"
    };
    format!("is not valid JSON: {error} ({hint})")
}
