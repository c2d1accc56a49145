//! The program's own files, which are never uploaded, under whatever name they are met: the config
//! holds secrets.
//!
//! Does not know where files are met.

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
    /// The config as it was named, and where it really is: backups lie beside either.
    configs: [PathBuf; 2],
    /// Of config and manifest, when the run began.
    identities: Vec<Identity>,
    /// Of the backups of the config.
    backups: Vec<Identity>,
}

impl OwnFiles {
    pub fn of(settings: &Settings) -> OwnFiles {
        let config = &settings.config;
        let mut paths = vec![config.clone()];
        paths.extend(settings.manifest.clone());
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
                continue; // nobody else finds one there, either
            };
            for entry in entries.flatten() {
                let path = entry.path();
                if self.are_beside(&path) {
                    backups.extend(identity_of(&path));
                }
            }
        }
        backups
    }

    /// Whether what is at the real path `real` lies beside the config and is named like a backup of
    /// it: `config.json.bak`, `config.json~`, an editor's `.config.json.swp`. So is the config.
    pub fn are_beside(&self, real: &Path) -> bool {
        let is_beside = |config: &PathBuf| match (real.file_name(), config.file_name()) {
            (Some(name), Some(own)) => is_like(name, own) && real.parent() == config.parent(),
            _ => false,
        };
        self.configs.iter().any(is_beside)
    }

    /// Whether the file at the real path `real` is one of them.
    pub fn contain(&self, real: &Path, metadata: &Metadata) -> bool {
        let identity = identity(real, metadata);
        self.are_beside(real)
            || self.identities.contains(&identity)
            || self.backups.contains(&identity)
    }

    /// Whether the file that was opened at `path` is one of them now: something else may have been
    /// there when it was listed, and another file may have become the config.
    pub fn contain_opened(&self, path: &Path, file: &File) -> io::Result<bool> {
        let real = path.canonicalize()?;
        let opened = identity(&real, &file.metadata()?);
        if identity_of(&real).as_ref() != Some(&opened) {
            return Err(io::Error::other("it was replaced while it was opened"));
        }
        Ok(self.are_beside(&real)
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

/// Whether `name` begins like `own`, in small letters or capitals: some file systems don't tell
/// them apart. Editors put a `.` or `#` before it.
fn is_like(name: &OsStr, own: &OsStr) -> bool {
    let [name, own] = [name, own].map(|name| name.as_encoded_bytes());
    let begins = |name: &[u8]| {
        name.get(..own.len())
            .is_some_and(|beginning| beginning.eq_ignore_ascii_case(own))
    };
    let marks = name.iter().take_while(|byte| b".#~".contains(byte)).count();
    (0..=marks).any(|at| begins(&name[at..]))
}
