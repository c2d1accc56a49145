//! The list of files to upload, and their names in the cloud.
//!
//! Looks at names, kinds and sizes; opens no file.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use super::own_files::{OwnFiles, never_uploaded};
use super::skipped::{why_not_for_others, why_private};
use crate::cli::{Console, DEFAULT_DIR, Reading, Settings, help_for_backslashes};
use crate::cloud_rules::{FileId, broken_rule, too_large, too_long, with_crc64};
use crate::disk::{identity_of, real_path, real_place, without_verbatim_prefix};
use crate::words::{either, io_words, words};

/// A PATH that begins so is a `file_id`.
const FILE_ID_START: &str = "cloud://";

fn not_utf8() -> &'static str {
    either(
        "its name is not UTF-8: rename it",
        "文件名不是 UTF-8：请改名",
    )
}

/// A file of the list, as it was when it was listed. Most are on this machine. The user can also name
/// one in the cloud, by its `file_id`: only its link is wanted.
pub struct ListedFile {
    pub path: PathBuf,
    /// Its name in the cloud: the prefix and the name that is printed. (`--unique` adds the
    /// CRC-64.)
    pub key: String,
    /// The length of the prefix, in bytes.
    prefix_len: usize,
    pub size: u64,
    /// The directory that it must lie in, its path with all links followed: the one that the user named.
    /// `None` for a file that the user named, and in the fixed directory without `-r`.
    pub root: Option<Arc<Path>>,
    /// Why it cannot be uploaded.
    pub problem: Option<Box<str>>,
    /// It is not an entry of a directory: the user or the config named it.
    is_named: bool,
    /// The same file stands before it in the list, at this position. It is uploaded there, once. It is
    /// reported here, too: a program that passes paths counts the lines.
    pub same_as: Option<usize>,
}

impl ListedFile {
    /// Returns the path below the directory that the user named, or the file's own name.
    pub fn name(&self) -> &str {
        &self.key[self.prefix_len..]
    }

    /// Returns the `file_id` that the user gave instead of a path. (No path of a file on this machine begins
    /// so: a PATH that does is taken for a `file_id`.)
    pub fn file_id(&self) -> Option<&str> {
        // The sort asks for this often. `to_str` reads the whole path, so the beginning is looked at first.
        let bytes = self.path.as_os_str().as_encoded_bytes();
        if !bytes.starts_with(FILE_ID_START.as_bytes()) {
            return None;
        }
        self.path.to_str()
    }

    /// Returns the place of the file in the cloud. Two files must not have the same.
    fn place(&self) -> &str {
        self.file_id().unwrap_or(&self.key)
    }
}

/// The files to upload, in the order of the command line, and notes about what is skipped.
pub struct Listing {
    pub files: Vec<ListedFile>,
    pub notes: Vec<String>,
    /// The number of entries that were skipped, or are in the list for the second time.
    pub skipped: usize,
}

impl Listing {
    /// Returns each file once, also if it is in the list twice.
    pub fn each_once(&self) -> impl Iterator<Item = &ListedFile> {
        self.files.iter().filter(|file| file.same_as.is_none())
    }

    /// Returns the size of all files together.
    pub fn bytes(&self) -> u64 {
        let sizes = self.each_once().map(|file| file.size);
        sizes.fold(0, u64::saturating_add)
    }
}

/// Lists the files that the user named, or else those in `upload_dir`. A path that the user
/// named must exist; the error is a sentence about it. On a slow disk this takes long, so `console` shows
/// how far it is.
pub fn list_files(
    settings: &Settings,
    own: &OwnFiles,
    console: &Console,
) -> Result<Listing, String> {
    let mut lister = Lister {
        settings,
        own,
        reading: Reading::new(&console.progress, |count| {
            words!(
                "listing the files: {count} so far",
                "正在列出文件：已有 {count} 个"
            )
        }),
        root: None,
        files: Vec::new(),
        skipped: Vec::new(),
    };
    for path in &settings.options.paths {
        lister.add_named(path).map_err(|error| {
            let hint = hint_for(path, &error, settings.options.paths.len() > 1);
            let (shown, error) = (path.display(), io_words(&error));
            format!("{shown}: {error}{hint}")
        })?;
    }
    if settings.options.paths.is_empty() {
        let path = &settings.upload_dir; // without `-r` all files in it, as in the script
        lister.add_named(path).map_err(|error| {
            let hint = hint_for_upload_dir(path, &error, settings);
            let full = path::absolute(path).unwrap_or_else(|_| path.clone());
            let (shown, error) = (full.display(), io_words(&error));
            words!("{shown}: {error}: {hint}", "{shown}: {error}：{hint}")
        })?;
    }
    let Lister {
        files, mut skipped, ..
    } = lister;
    let paths = &settings.options.paths;
    if !skipped.is_empty() && paths.len() > 1 {
        leave_out_named(&mut skipped, paths);
    }
    without_doubles(files, skipped, settings.options.unique)
}

/// Returns what the user should know if a named path cannot be listed. If it `has_others` beside it, the
/// shell may have cut one path at its blanks.
fn hint_for(path: &Path, error: &io::Error, has_others: bool) -> &'static str {
    if path.to_string_lossy().contains('*') {
        either(
            ": the shell did not replace the * by the names of files (in Windows it never does): name \
             the directory",
            "：shell 没有把 * 展开成文件名（Windows 上从不展开）：请直接写目录名",
        )
    } else if error.kind() == ErrorKind::NotFound && has_others {
        either(
            ": nothing was uploaded (a path with blanks needs quotes)",
            "：没有上传任何文件（路径中有空格的，请加引号）",
        )
    } else if error.kind() == ErrorKind::NotFound {
        either(
            ": nothing was uploaded: check the path",
            "：没有上传任何文件：请检查路径",
        )
    } else {
        ""
    }
}

/// Returns what helps if `upload_dir` cannot be listed.
fn hint_for_upload_dir(path: &Path, error: &io::Error, settings: &Settings) -> String {
    let config = settings.shown_config();
    if path.to_string_lossy().contains(char::is_control) {
        return format!("{config}: {}", help_for_backslashes()); // "D:\temp" has a tab in it
    }
    if path == Path::new(DEFAULT_DIR) {
        words!(
            "without a PATH the program uploads this directory, as the original script did: name files \
             or a directory, or set `upload_dir` in {config}",
            "不写路径时，默认上传这个目录（与原脚本一样）：请写明要上传的文件或目录，或在 {config} 中设置 \
             `upload_dir`"
        )
    } else if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
        words!(
            "name files to upload, or correct `upload_dir` in {config}",
            "请写明要上传的文件，或改正 {config} 中的 `upload_dir`"
        )
    } else {
        words!(
            "it is the `upload_dir` of {config}",
            "它是 {config} 中的 `upload_dir`"
        )
    }
}

/// Leaves out of what is skipped the paths that the user named, too. They are uploaded, but for the
/// program's own files.
fn leave_out_named(skipped: &mut Vec<Skipped>, named: &[PathBuf]) {
    let named: HashSet<PathBuf> = named.iter().map(|path| real_place(path)).collect();
    let is_named = |path: &Path| named.contains(&real_place(path));
    skipped.retain(|one| one.why == never_uploaded() || !is_named(&one.path));
}

/// Finds the files that are listed again. One that the user named stays in the list; one that was
/// found in a directory is skipped. Two different files with one cloud name are an error, unless
/// their names will be `unique`.
fn without_doubles(
    mut files: Vec<ListedFile>,
    mut skipped: Vec<Skipped>,
    unique: bool,
) -> Result<Listing, String> {
    mark_doubles(&mut files, unique);
    let mut repeated = 0;
    let mut removed = Vec::new();
    // Those that stay are moved to the front. A second list of many files would take much memory.
    let mut kept = 0;
    for index in 0..files.len() {
        if let Some(first) = files[index].same_as {
            let position = first - removed.partition_point(|&index| index < first);
            let (file, first) = (&files[index], &files[position].path);
            if file.file_id().is_none() && !unique {
                check_same_file(file, first)?;
            }
            if !file.is_named {
                let first = first.display();
                skipped.push(Skipped {
                    why: words!("the same file as {first}", "与 {first} 是同一个文件"),
                    path: file.path.clone(),
                });
                removed.push(index);
                continue;
            }
            files[index].same_as = Some(position);
            repeated += 1;
        }
        files.swap(kept, index);
        kept += 1;
    }
    files.truncate(kept);
    Ok(Listing {
        files,
        notes: notes_about(&skipped),
        skipped: skipped.len() + repeated,
    })
}

/// Sets `same_as` of each file that has the place of another one before it. Sorts the indexes of the
/// files by their places: a map would take more memory for each.
fn mark_doubles(files: &mut [ListedFile], unique: bool) {
    let mut real_paths = Vec::new();
    if unique {
        // Two files may have the same name. So the path is a part of the place.
        real_paths.extend(files.iter().map(|file| real_path(&file.path)));
    }
    let place = |index: usize| (files[index].place(), real_paths.get(index));
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.retain(|&index| files[index].problem.is_none());
    order.sort_by(|&one, &other| place(one).cmp(&place(other))); // keeps the order of those alike
    let mut doubles = Vec::new();
    for alike in order.chunk_by(|&one, &other| place(one) == place(other)) {
        doubles.extend(alike[1..].iter().map(|&index| (index, alike[0])));
    }
    for (index, first) in doubles {
        files[index].same_as = Some(first);
    }
}

/// A path that is skipped.
struct Skipped {
    path: PathBuf,
    why: String,
}

/// If more paths than this are skipped for one reason, they share one note.
const MAX_NOTES: usize = 10;

fn notes_about(skipped: &[Skipped]) -> Vec<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for one in skipped {
        *counts.entry(&one.why).or_default() += 1;
    }
    let mut notes = Vec::new();
    let mut noted = HashSet::new();
    for Skipped { path, why } in skipped {
        let path = path.display();
        let count = counts[&**why];
        if count <= MAX_NOTES {
            notes.push(words!("{path}: skipped: {why}", "{path}: 已跳过：{why}"));
        } else if noted.insert(why) {
            let more = count - 1;
            notes.push(words!(
                "{path} and {more} more: skipped: {why}",
                "{path} 和另外 {more} 项：已跳过：{why}"
            ));
        }
    }
    notes
}

/// Checks that `file` and the file at `other`, which have one cloud name, are the same file.
fn check_same_file(file: &ListedFile, other: &Path) -> Result<(), String> {
    if let (Some(one), Some(two)) = (identity_of(other), identity_of(&file.path))
        && one == two
    {
        return Ok(());
    }
    let (one, two) = (real_path(other), real_path(&file.path));
    if one == two {
        return Ok(()); // on a file system whose inode numbers change
    }
    let [one, two] = [one, two].map(without_verbatim_prefix);
    let (one, two, key) = (one.display(), two.display(), &file.key);
    Err(words!(
        "{one} and {two} would both become {key} in the cloud: rename one of them, upload them one \
         after the other with different -t, or use --unique",
        "{one} 和 {two} 的云端文件名都会是 {key}：请改名，或用不同的 -t 分别上传，或加上 --unique"
    ))
}

/// Returns the names of all entries of a directory.
fn sorted_names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name());
    }
    names.sort();
    Ok(names)
}

/// The state of a walk through what the user named.
struct Lister<'a> {
    settings: &'a Settings,
    own: &'a OwnFiles,
    reading: Reading<'a>,
    /// The directory that is walked through, its path with all links followed. `None` in the fixed
    /// directory without `-r`, where all files are taken, as in the script.
    root: Option<Arc<Path>>,
    files: Vec<ListedFile>,
    skipped: Vec<Skipped>,
}

/// A directory that is walked through.
struct Directory {
    path: PathBuf,
    /// Its path with all links followed.
    real: PathBuf,
    /// The prefix of the names of its files: empty, or with a last `/`.
    below: String,
}

impl Lister<'_> {
    /// Adds a file, or the files in a directory, that the user named.
    fn add_named(&mut self, path: &Path) -> io::Result<()> {
        if let Some(text) = path.to_str()
            && text.starts_with(FILE_ID_START)
        {
            return self.add_file_id(text).map_err(io::Error::other);
        }
        let real = path.canonicalize()?;
        let metadata = fs::metadata(&real)?;
        if metadata.is_dir() {
            let options = &self.settings.options;
            let takes_all = options.paths.is_empty() && !options.recursive;
            self.root = (!takes_all).then(|| real.as_path().into());
            let path = path.to_owned();
            let below = String::new();
            return self.add_directory(&Directory { path, real, below });
        }
        self.root = None;
        let position = self.files.len();
        self.add_file(path, &real, &metadata, None);
        if let Some(added) = self.files.get_mut(position) {
            added.is_named = true;
        }
        Ok(())
    }

    /// Adds a file in the cloud. The error says why its link cannot be had.
    fn add_file_id(&mut self, text: &str) -> Result<(), String> {
        let Some(file_id) = FileId::parse(text) else {
            return Err(either(
                "this is not a file_id, which is like cloud://ENV.BUCKET/PATH",
                "不是 file_id，应形如 cloud://ENV.BUCKET/PATH",
            )
            .into());
        };
        let FileId { env, key, name } = file_id;
        let own_env = &self.settings.env;
        if env != own_env {
            return Err(words!(
                "this file is in the environment {env}, but `env` is {own_env}: use a config with \
                 that environment",
                "该文件在环境 {env} 中，而 `env` 为 {own_env}：请使用该环境的配置文件"
            ));
        }
        self.files.push(ListedFile {
            path: text.into(),
            key: key.to_owned(),
            prefix_len: key.len() - name.len(),
            size: 0,
            root: None,
            problem: None,
            is_named: true,
            same_as: None,
        });
        Ok(())
    }

    /// Adds the files in a directory, sorted by name. (A cloud name has at most 850 bytes, which
    /// limits the depth of the recursion.)
    fn add_directory(&mut self, directory: &Directory) -> io::Result<()> {
        for name in sorted_names(&directory.path)? {
            self.reading.count_one();
            let path = directory.path.join(&name);
            let added = match self.add_entry(directory, &path, &name) {
                Ok(Some(subdirectory)) => self.add_directory(&subdirectory),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = added {
                self.add_problem(directory, &path, &io_words(&error));
            }
        }
        Ok(())
    }

    /// Adds the entry `name` of a directory, or returns it if it is a directory to go into.
    fn add_entry(
        &mut self,
        directory: &Directory,
        path: &Path,
        name: &OsStr,
    ) -> io::Result<Option<Directory>> {
        let real = directory.real.join(name);
        let looked_at = fs::symlink_metadata(path);
        let is_directory = looked_at.as_ref().is_ok_and(Metadata::is_dir);
        let exclude = &self.settings.options.exclude;
        let below = || Path::new(&directory.below).join(name);
        if !exclude.is_empty() && exclude.leaves_out(&below(), is_directory) {
            return Ok(None);
        }
        if cfg!(windows) && self.own.is_lock(&real) {
            return Ok(None); // it lies beside the config after each run
        }
        if !is_directory && self.own.has_own_path(&real) {
            // `looked_at` is an error if another run has just renamed its new config. So the name is
            // checked before it.
            self.skip(path, never_uploaded());
            return Ok(None);
        }
        if (self.root.is_some() || is_directory)
            && let Some(why) = why_not_for_others(name, looked_at.as_ref().ok())
        {
            self.skip(path, why);
            return Ok(None);
        }
        let metadata = looked_at?;
        if metadata.is_symlink() {
            self.add_link(directory, path)?;
        } else if is_directory {
            return Ok(self.subdirectory(directory, path, real));
        } else {
            self.add_file(path, &real, &metadata, Some(directory));
        }
        Ok(None)
    }

    /// Adds what a link in a directory leads to. As in the script, a link to a file is followed.
    fn add_link(&mut self, directory: &Directory, path: &Path) -> io::Result<()> {
        let real = path.canonicalize().map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => io::Error::other(either(
                "it is a link that leads to nothing",
                "是失效的链接，它指向的文件不存在",
            )),
            _ => error,
        })?;
        let metadata = fs::metadata(&real)?;
        let root = self.root.as_deref().unwrap_or(&directory.real);
        let own_name = real.file_name().unwrap_or_default();
        let below = real.strip_prefix(root).unwrap_or(Path::new(own_name));
        let exclude = &self.settings.options.exclude;
        if exclude.leaves_out(below, metadata.is_dir()) {
            return Ok(());
        }
        if metadata.is_dir() {
            let why = either(
                "a link to a directory (give its path to upload what is in it)",
                "指向目录的链接（要上传其中的文件，请写明路径）",
            );
            self.skip(path, why);
        } else if !self.own.has_own_path(&real)
            && let Some(root) = &self.root
            && let Some(why) = why_private(root, &real)
        {
            self.skip(path, why);
        } else {
            self.add_file(path, &real, &metadata, Some(directory));
        }
        Ok(())
    }

    /// Returns the subdirectory `path` of `directory`, if the user wants the files in it.
    fn subdirectory(
        &mut self,
        directory: &Directory,
        path: &Path,
        real: PathBuf,
    ) -> Option<Directory> {
        if !self.settings.options.recursive {
            let why = either(
                "a directory (use -r to upload what is in it)",
                "是目录（要上传其中的文件，请加上 -r）",
            );
            self.skip(path, why);
            return None;
        }
        let Some(name) = path.file_name().and_then(OsStr::to_str) else {
            self.add_problem(directory, path, not_utf8());
            return None;
        };
        let below = format!("{}{name}/", directory.below);
        if let Some(why) = too_long(&self.expected_key(&format!("{below}x"))) {
            self.add_problem(directory, path, why); // as every name below it
            return None;
        }
        let path = path.to_owned();
        Some(Directory { path, real, below })
    }

    /// Adds a path that is not a directory. Its name is that of the real file, as in the script. `found_in`
    /// is the directory that it is an entry of; without one, the user named it.
    fn add_file(
        &mut self,
        path: &Path,
        real: &Path,
        metadata: &Metadata,
        found_in: Option<&Directory>,
    ) {
        if self.own.is_own(real, metadata) {
            return self.skip(path, never_uploaded()); // also if a shell's `*` named it
        }
        let why_not = if self.own.has_own_path(real) {
            Some(never_uploaded())
        } else if !metadata.is_file() {
            Some(either("not a regular file", "不是普通文件"))
        } else {
            None
        };
        if found_in.is_some()
            && let Some(why) = why_not
        {
            return self.skip(path, why);
        }
        let below = found_in.map_or("", |directory| &directory.below);
        let own_name = real.file_name().unwrap_or_default();
        let name = format!("{below}{}", own_name.to_string_lossy());
        let is_utf8 = own_name.to_str().is_some();
        let problem = why_not
            .or((!is_utf8).then(not_utf8))
            .or(too_large(metadata.len()))
            .or_else(|| broken_rule(&self.expected_key(&name)));
        self.push(path, &name, metadata.len(), problem);
    }

    /// Returns the cloud name of a file, without a checksum.
    fn key(&self, name: &str) -> String {
        [&*self.settings.prefix, name].concat()
    }

    /// Returns the cloud name that a file will have. With `--unique`, its checksum is not known yet:
    /// 0 stands in its place.
    fn expected_key(&self, name: &str) -> String {
        let key = self.key(name);
        if self.settings.options.unique {
            return with_crc64(&key, 0);
        }
        key
    }

    /// Adds an entry of a directory that cannot be uploaded.
    fn add_problem(&mut self, directory: &Directory, path: &Path, problem: &str) {
        let own_name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{}{own_name}", directory.below);
        self.push(path, &name, 0, Some(problem));
    }

    fn push(&mut self, path: &Path, name: &str, size: u64, problem: Option<&str>) {
        let key = self.key(name);
        self.files.push(ListedFile {
            path: path.to_owned(),
            prefix_len: key.len() - name.len(),
            key,
            size,
            root: self.root.clone(),
            problem: problem.map(Into::into),
            is_named: false,
            same_as: None,
        });
    }

    fn skip(&mut self, path: &Path, why: &str) {
        self.skipped.push(Skipped {
            path: path.to_owned(),
            why: why.to_owned(),
        });
    }
}
