//! Where the config is, and what helps if there is none.
//!
//! Does not know what is written in a config.

use std::env;
use std::path::{self, Path, PathBuf};

use crate::disk::is_missing;
use crate::options::{Options, command_to_type, shell_word};

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
