//! `--exclude`: which of the files and directories that are found the user wants to leave out.
//!
//! Does not know how a directory is walked through.

use std::path::Path;

use glob::{MatchOptions, Pattern};

use crate::words::{either, words};

const OPTIONS: MatchOptions = MatchOptions {
    // As the system's own file names.
    case_sensitive: !cfg!(any(windows, target_os = "macos")),
    require_literal_separator: true, // only `**` goes through a `/`
    require_literal_leading_dot: false,
};

/// The patterns of `--exclude`, for paths below the named directory.
#[derive(Default)]
pub struct Exclude(Vec<Pattern>);

impl Exclude {
    /// Adds a pattern. The error is a sentence about it.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let text = if cfg!(windows) {
            text.replace('\\', "/")
        } else {
            text.to_owned()
        };
        let from_top = text.strip_prefix("./").or_else(|| text.strip_prefix('/'));
        let glob = from_top.unwrap_or(&text);
        let glob = glob.strip_suffix('/').unwrap_or(glob);
        if glob.is_empty() {
            return Err(either(
                "--exclude is empty: give a pattern, like \"*.psd\"",
                "--exclude: 不能为空，请写明模式，如 \"*.psd\"",
            )
            .into());
        }
        if has_braces(glob) {
            return Err(words!(
                "--exclude '{text}': {{a,b}} is not supported: give --exclude for each",
                "--exclude “{text}”：不支持 {{a,b}}，请分别写成多个 --exclude"
            ));
        }
        let is_for_path = from_top.is_some() || glob.contains('/');
        let at_any_depth = if is_for_path { "" } else { "**/" };
        let Ok(pattern) = Pattern::new(&format!("{at_any_depth}{glob}")) else {
            return Err(words!(
                "--exclude '{text}' is not a pattern: ** must stand alone between two /, and a [ needs \
                 its ]",
                "--exclude “{text}”不是有效的模式：** 只能单独占一级目录，[ 要有配对的 ]"
            ));
        };
        self.0.push(pattern);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the user wants to leave out what lies at `below`, a path below the named directory: a
    /// pattern matches it, or a directory on the way to it.
    pub fn leaves_out(&self, below: &Path, is_directory: bool) -> bool {
        let matches = |text: &str| {
            let mut patterns = self.0.iter();
            patterns.any(|pattern| pattern.matches_with(text, OPTIONS))
        };
        for (levels_up, path) in below.ancestors().enumerate() {
            let path = path.to_string_lossy();
            let is_directory = is_directory || levels_up > 0;
            // `raw/**` leaves nothing of the directory `raw`, so it need not be entered.
            let is_left_out = matches(&path) || is_directory && matches(&format!("{path}/"));
            if is_left_out && !path.is_empty() {
                return true;
            }
        }
        false
    }
}

/// Whether the pattern has a list like `{a,b}`, which `glob` would take literally.
fn has_braces(glob: &str) -> bool {
    let list = glob
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once(','));
    list.is_some_and(|(_, rest)| rest.contains('}'))
}
