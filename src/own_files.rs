//! The program's own files, which are never uploaded, under whatever name they are found: the config
//! holds secrets.
//!
//! Does not know where files are looked for.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Identity, identity, identity_of, real_path};
use crate::options::Settings;

/// Why such a file is skipped.
pub const NEVER_UPLOADED: &str = "the config, its backups and the manifest are never uploaded";

pub struct OwnFiles {
    /// The config, and the manifest.
    paths: Vec<PathBuf>,
    /// The config as it was named, and its real path. Backups are beside both.
    configs: [PathBuf; 2],
    /// The identities of config and manifest when the run began.
    identities: Vec<Identity>,
    /// The identities of the config's backups.
    backups: Vec<Identity>,
}

impl OwnFiles {
    pub fn of(settings: &Settings) -> OwnFiles {
        let config = &settings.options.config;
        let mut paths = vec![config.clone()];
        paths.extend(settings.options.manifest.clone());
        let named = real_path(directory_of(config)).join(config.file_name().unwrap_or_default());
        let mut own = OwnFiles {
            paths,
            configs: [named, real_path(config)],
            identities: Vec::new(),
            backups: Vec::new(),
        };
        own.identities = own.identities_now();
        own.backups = own.find_backups();
        own
    }

    fn identities_now(&self) -> Vec<Identity> {
        let known = self.paths.iter().map(|path| identity_of(path));
        known.flatten().collect()
    }

    fn find_backups(&self) -> Vec<Identity> {
        let mut backups = Vec::new();
        for config in &self.configs {
            let Ok(entries) = fs::read_dir(directory_of(config)) else {
                continue; // then the listing finds no files there either
            };
            for entry in entries.flatten() {
                let path = entry.path();
                if self.has_config_name(&path) {
                    backups.extend(identity_of(&path));
                }
            }
        }
        backups
    }

    /// Whether the file at the real path `real` is beside the config and has its name, or the name
    /// of a backup of it: `config.json.bak`, `config.json~`, an editor's `.config.json.swp`.
    pub fn has_config_name(&self, real: &Path) -> bool {
        let is_beside = |config: &PathBuf| match (real.file_name(), config.file_name()) {
            (Some(name), Some(own)) => is_like(name, own) && real.parent() == config.parent(),
            _ => false,
        };
        self.configs.iter().any(is_beside)
    }

    /// Whether the file at the real path `real` is one of the program's own.
    pub fn is_own(&self, real: &Path, metadata: &Metadata) -> bool {
        let identity = identity(real, metadata);
        self.has_config_name(real)
            || self.identities.contains(&identity)
            || self.backups.contains(&identity)
    }

    /// Whether the `file` that was opened at `path` is one of the program's own now. It may have
    /// taken the place of the file that was listed, or have become the config since.
    pub fn is_own_opened(&self, path: &Path, file: &File) -> io::Result<bool> {
        let real = path.canonicalize()?;
        let opened = identity(&real, &file.metadata()?);
        if identity_of(&real).as_ref() != Some(&opened) {
            return Err(io::Error::other("it was replaced while it was opened"));
        }
        Ok(self.has_config_name(&real)
            || self.identities_now().contains(&opened)
            || self.backups.contains(&opened))
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Whether `name` begins like `own`. Small letters and capitals are the same, as some file systems
/// do not tell them apart. Editors put a `.` or `#` before the name.
fn is_like(name: &OsStr, own: &OsStr) -> bool {
    let [name, own] = [name, own].map(|name| name.as_encoded_bytes());
    let begins = |name: &[u8]| {
        name.get(..own.len())
            .is_some_and(|beginning| beginning.eq_ignore_ascii_case(own))
    };
    let marks = name.iter().take_while(|byte| b".#~".contains(byte)).count();
    (0..=marks).any(|at| begins(&name[at..]))
}
