//! The notes about what the user may want to change, most of them before anything is sent.
//!
//! Does not know what is sent.

use serde_json::Value;

use crate::cli::{Auth, Console, Settings, text_in};
use crate::disk::{ignores_permissions, public_mode};
use crate::files::Listing;
use crate::words::{either, words};

/// Prints the notes.
pub fn print_notes(settings: &Settings, config: &Value, console: &Console, listing: &Listing) {
    if let Some(secret) = secret_in_config(settings, config)
        && let Some(path) = &settings.config
        && let Some(mode) = public_mode(path)
    {
        let mut command = chmod_command(&path.display().to_string(), mode);
        if !settings.options.dry_run && ignores_permissions(path) {
            command = String::new();
        }
        let path = path.display();
        console.note(&words!(
            "{path}: everybody on this machine can read {secret}{command}",
            "{path}: 本机所有用户都能读到{secret}{command}"
        ));
    }
    if settings.token_file().is_none() && settings.auth != Auth::None && !settings.options.dry_run {
        console.note(&token_is_not_kept(settings));
    }
    for note in &listing.notes {
        console.note(note);
    }
    if listing.files.is_empty() {
        console.note(either("there are no files to upload", "没有要上传的文件"));
    }
}

/// Returns the words for a run that saves no token.
fn token_is_not_kept(settings: &Settings) -> String {
    let Some(path) = &settings.config else {
        return either(
            "there is no config: the environment's variables are used, and the token is not kept",
            "没有配置文件：使用环境变量，access_token 不会保存",
        )
        .to_owned();
    };
    let path = path.display();
    words!(
        "{path}: may be another program's, as it has only `env`: the token is not kept there (-c names \
         a config where it is)",
        "{path}: 只有 `env`，可能属于其他程序：access_token 不会保存到其中（用 -c 指定的配置文件则会保存）"
    )
}

/// Prints what a new token does if the config has no `auth`.
pub fn note_new_token(settings: &Settings, console: &Console) {
    let path = settings.shown_config();
    console.note_once(&words!(
        "{path}: without `auth`, a new token ends the token of other programs with this `appid`: write \
         \"auth\": \"stable_token\", then they keep theirs",
        "{path}: 没有设置 `auth`，获取新的 access_token 会使其他程序（同一 `appid`）的 access_token 失效：\
         设为 \"auth\": \"stable_token\" 则互不影响"
    ));
}

/// Returns the words for the secret that is in the config, or that the run will save there.
fn secret_in_config(settings: &Settings, config: &Value) -> Option<&'static str> {
    let has_token = text_in(config, "access_token").is_some() || !settings.options.dry_run;
    if text_in(config, "secret").is_some() {
        Some(either("its `secret`", "其中的 `secret`"))
    } else if settings.auth != Auth::None && has_token {
        Some(either(
            "the access token that is kept in it",
            "其中保存的 access_token",
        ))
    } else {
        None
    }
}

/// Returns the command that hides the config from other users, with a colon before it. Returns an
/// empty text if the path has characters that are special in a shell, because users paste the
/// command. Returns an empty text, too, if the config is executable: file systems without
/// permissions, such as WSL's `/mnt/c`, show all files that way, and there the command does nothing.
fn chmod_command(path: &str, mode: u32) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || " /._-".contains(c);
    let has_permissions = mode & 0o111 == 0;
    if path.starts_with('-') || !path.chars().all(is_plain) || !has_permissions {
        return String::new();
    }
    words!(": chmod o-r '{path}'", "：请执行 chmod o-r '{path}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_only_if_it_can_be_pasted_and_helps() {
        assert!(chmod_command("a b/图.json", 0o644).contains("chmod o-r 'a b/图.json'"));
        for (path, mode) in [
            ("-c.json", 0o644),
            ("it's", 0o644),
            ("$(x)", 0o644),
            ("a", 0o777),
        ] {
            assert_eq!(chmod_command(path, mode), "", "{path}");
        }
    }
}
