//! The notes that a user should read before anything is sent.
//!
//! Does not know what is sent.

use serde_json::Value;

use crate::console::Console;
use crate::disk::public_mode;
use crate::listing::Listing;
use crate::options::{Auth, Settings, text_in};

/// Prints the notes.
pub fn print_notes(settings: &Settings, config: &Value, console: &Console, listing: &Listing) {
    if let Some(secret) = secret_in_config(settings, config)
        && let Some(mode) = public_mode(&settings.options.config)
    {
        let path = settings.options.config.display();
        console.note(&format!(
            "note: {path}: everybody on this machine can read {secret}{}",
            chmod_command(&path.to_string(), mode)
        ));
    }
    for note in &listing.notes {
        console.note(&format!("note: {note}"));
    }
    if listing.files.is_empty() {
        console.note("note: there are no files to upload");
    }
}

/// Returns the words for the secret that is in the config, or that the run will save there.
fn secret_in_config(settings: &Settings, config: &Value) -> Option<&'static str> {
    let has_token = text_in(config, "access_token").is_some() || !settings.options.dry_run;
    if text_in(config, "secret").is_some() {
        Some("its `secret`")
    } else if settings.auth != Auth::None && has_token {
        Some("the access token that is kept in it")
    } else {
        None
    }
}

/// Returns the command that makes the config private, with a colon before it. Returns an empty text
/// if the path has characters that are special in a shell, because users paste the command. Also if
/// the config is executable: file systems without permissions, such as WSL's `/mnt/c`, show all files
/// that way, and there the command does nothing.
fn chmod_command(path: &str, mode: u32) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || " /._-".contains(c);
    let has_permissions = mode & 0o111 == 0;
    if path.starts_with('-') || !path.chars().all(is_plain) || !has_permissions {
        return String::new();
    }
    format!(": chmod o-r '{path}'")
}
