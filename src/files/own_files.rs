//! The program's own files: the config, whatever lies beside it and is named like it, and the manifest.
//! They are never uploaded, whichever path leads to them.
//!
//! Does not know what a file holds: `secrets.rs` looks into files of any name.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use crate::cli::Settings;
use crate::disk::{Identity, identity, identity_of, lock_beside, real_path, real_place};
use crate::words::either;

/// Why such a file is skipped.
pub fn never_uploaded() -> &'static str {
    either(
        "the config, its copies and the manifest of this run are never uploaded",
        "配置文件及其副本、本次运行的清单不会上传",
    )
}

pub struct OwnFiles {
    /// The config, and the manifest.
    paths: Vec<PathBuf>,
    /// Their paths with all links followed, and their identities, when the run began.
    real_paths: Vec<PathBuf>,
    identities: Vec<Identity>,
    /// The config as it was named, and its real path. Backups are beside both.
    configs: Vec<PathBuf>,
}

impl OwnFiles {
    pub fn of(settings: &Settings) -> OwnFiles {
        let mut paths = Vec::from_iter(settings.config.clone());
        paths.extend(settings.options.manifest.clone());
        let configs = match &settings.config {
            Some(config) => vec![real_place(config), real_path(config)],
            None => Vec::new(),
        };
        OwnFiles {
            real_paths: paths.iter().map(|path| real_path(path)).collect(),
            identities: paths.iter().filter_map(|path| identity_of(path)).collect(),
            paths,
            configs,
        }
    }

    /// Whether `real` is the real path of the config or the manifest, or beside the config with the name
    /// of a backup of it: `config.json.bak`, `config.json~`, an editor's `.config.json.swp`.
    pub fn has_own_path(&self, real: &Path) -> bool {
        let name = real.file_name().unwrap_or_default();
        let is_beside = |config: &PathBuf| {
            let own = config.file_name().unwrap_or_default();
            is_named_like(name, own) && real.parent() == config.parent()
        };
        self.real_paths.iter().any(|own| own == real) || self.configs.iter().any(is_beside)
    }

    /// Whether the path `real` is that of the lock that Windows keeps beside the config.
    pub fn is_lock(&self, real: &Path) -> bool {
        self.configs
            .last()
            .is_some_and(|config| real == lock_beside(config))
    }

    /// Whether the file at the real path `real` is the config or the manifest.
    pub fn is_own(&self, real: &Path, metadata: &Metadata) -> bool {
        self.real_paths.iter().any(|own| own == real)
            || self.identities.contains(&identity(real, metadata))
    }

    /// Whether the file that was opened at `path` is the config or the manifest. It may have taken
    /// the place of the file that was listed.
    pub fn is_own_opened(&self, path: &Path, metadata: &Metadata) -> bool {
        let opened = identity(path, metadata);
        let is_opened = |own: &PathBuf| identity_of(own).as_ref() == Some(&opened);
        self.paths.iter().any(is_opened)
    }
}

/// Whether `name` begins with the whole name `own`: a letter or a digit behind it makes another name.
/// Small letters and capitals are the same, as some file systems do not tell them apart. Editors put a
/// `.` or `#` before the name.
fn is_named_like(name: &OsStr, own: &OsStr) -> bool {
    let [name, own] = [name, own].map(OsStr::to_string_lossy);
    let is_like = |name: &str| {
        let (Some(beginning), Some(rest)) = (name.get(..own.len()), name.get(own.len()..)) else {
            return false;
        };
        beginning.eq_ignore_ascii_case(&own) && !rest.starts_with(char::is_alphanumeric)
    };
    let marks = name.chars().take_while(|c| ".#~".contains(*c)).count();
    (0..=marks).any(|at| is_like(&name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_of_the_config_begins_with_its_name() {
        let is_like = |name: &str| is_named_like(OsStr::new(name), OsStr::new("config.json"));
        for name in [
            "config.json",
            "Config.JSON",
            "config.json~",
            "config.json.bak",
            ".config.json.swp",
            "#config.json#",
            ".#config.json",
            ".~config.json",
            "config.json.png",
            "config.json (1)",
            "config.json_old",
        ] {
            assert!(is_like(name), "{name}");
        }
        for name in [
            "config.jso",
            "config",
            "my-config.json",
            "_config.json",
            "json",
            "config.json2",
            "config.json5",
            "config.json副本",
            "",
        ] {
            assert!(!is_like(name), "{name}");
        }
        assert!(is_named_like(OsStr::new(".own"), OsStr::new(".own")));
        assert!(is_named_like(OsStr::new("#.own#"), OsStr::new(".own")));
        assert!(!is_named_like(
            OsStr::new("conference.jpg"),
            OsStr::new("conf")
        ));
    }
}
