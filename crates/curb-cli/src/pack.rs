//! The files of `--working-dir` as one zip, the same bytes for the same files.
//!
//! Left out is what Ray's own client leaves out: what `.gitignore` and `.rayignore` below the directory say, and
//! `.git`, `.venv`, `venv` and `__pycache__`. The name is a hash of names, modes and contents, so that files that are
//! there already are not sent again.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The largest package that Ray takes, in bytes.
pub const MAX_PACKAGE: u64 = 100 << 20;
/// The most that the files may have together, in bytes.
const MAX_CONTENT: u64 = 2 << 30;
/// The most files.
const MAX_FILES: usize = 100_000;
/// What is never sent, as with Ray's own client.
const NEVER: [&str; 4] = [".git", ".venv", "venv", "__pycache__"];

/// A package that can be uploaded.
#[derive(Debug)]
pub struct Package {
    /// `_ray_pkg_<hash>.zip`
    pub name: String,
    /// The zip.
    pub bytes: Vec<u8>,
    /// How many files are in it.
    pub files: usize,
}

/// Why there is no package. The text says which file.
#[derive(Debug, PartialEq, Eq)]
pub struct PackError(pub String);

/// Packs the files below a directory.
pub fn pack(dir: &Path) -> Result<Package, PackError> {
    let files = files(dir)?;
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut hash = Sha256::new();
    let mut left = MAX_CONTENT;
    for (name, path) in &files {
        let (mode, content) = read(path, &mut left)?;
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(mode.to_le_bytes());
        hash.update(Sha256::digest(&content));
        add(&mut zip, name, mode, &content)
            .map_err(|e| PackError(format!("cannot pack {}: {e}", path.display())))?;
    }
    let bytes = zip
        .finish()
        .map_err(|e| PackError(format!("cannot finish the package: {e}")))?
        .into_inner();
    if bytes.len() as u64 > MAX_PACKAGE {
        return Err(PackError(format!(
            "the files below {} are {} MiB packed, and Ray takes at most {} MiB: list what is not needed in .rayignore",
            dir.display(),
            bytes.len() >> 20,
            MAX_PACKAGE >> 20
        )));
    }
    let name = format!("_ray_pkg_{}.zip", &hex::encode(hash.finalize())[..32]);
    Ok(Package {
        name,
        bytes,
        files: files.len(),
    })
}

/// Names in the zip and paths, sorted by name.
fn files(dir: &Path) -> Result<Vec<(String, PathBuf)>, PackError> {
    if !dir.is_dir() {
        return Err(PackError(format!(
            "--working-dir {} is not a directory",
            dir.display()
        )));
    }
    let walk = WalkBuilder::new(dir)
        .hidden(false)
        .parents(false)
        .ignore(false)
        .git_global(false)
        .git_exclude(false)
        .git_ignore(true)
        .require_git(false)
        .add_custom_ignore_filename(".rayignore")
        .follow_links(true)
        .filter_entry(|entry| {
            entry.depth() == 0 || !NEVER.iter().any(|name| entry.file_name() == *name)
        })
        .build();
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|e| PackError(format!("cannot walk {}: {e}", dir.display())))?;
        if !entry.file_type().is_some_and(|t| t.is_file()) {
            continue;
        }
        let path = entry.into_path();
        let name = path
            .strip_prefix(dir)
            .ok()
            .and_then(Path::to_str)
            .map(str::to_owned);
        let name =
            name.ok_or_else(|| PackError(format!("the name of {} is not UTF-8", path.display())))?;
        files.push((name, path));
        if files.len() > MAX_FILES {
            return Err(PackError(format!(
                "there are more than {MAX_FILES} files below {}: list what is not needed in .rayignore",
                dir.display()
            )));
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path, left: &mut u64) -> Result<(u32, Vec<u8>), PackError> {
    let fail = |e: std::io::Error| PackError(format!("cannot read {}: {e}", path.display()));
    let file = std::fs::File::open(path).map_err(fail)?;
    let mode = mode(&file.metadata().map_err(fail)?);
    let mut content = Vec::new();
    file.take(*left + 1)
        .read_to_end(&mut content)
        .map_err(fail)?;
    *left = left.checked_sub(content.len() as u64).ok_or_else(|| {
        PackError(format!(
            "the files have more than {} GiB: list what is not needed in .rayignore",
            MAX_CONTENT >> 30
        ))
    })?;
    Ok((mode, content))
}

/// Only whether it can be executed is kept: nothing else of it means anything on another machine.
#[cfg(unix)]
fn mode(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o100 == 0 {
        0o644
    } else {
        0o755
    }
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> u32 {
    0o644
}

fn add(
    zip: &mut ZipWriter<Cursor<Vec<u8>>>,
    name: &str,
    mode: u32,
    content: &[u8],
) -> zip::result::ZipResult<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(mode);
    zip.start_file(name, options)?;
    zip.write_all(content)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, content).expect("written");
        }
        dir
    }

    fn names(package: &Package) -> Vec<String> {
        let archive = zip::ZipArchive::new(Cursor::new(&package.bytes)).expect("a zip");
        archive
            .file_names()
            .map(|name| name.expect("UTF-8").into_owned())
            .collect()
    }

    #[test]
    fn the_same_files_make_the_same_bytes_whenever_they_were_written() {
        let files = [("b.py", "print(1)"), ("a/c.py", "x = 2"), (".env", "A=1")];
        let (one, two) = (tree(&files), tree(&files));
        let (one, two) = (
            pack(one.path()).expect("packed"),
            pack(two.path()).expect("packed"),
        );
        assert_eq!((&one.name, &one.bytes), (&two.name, &two.bytes));
        assert_eq!(names(&one), [".env", "a/c.py", "b.py"]);
        assert!(curb_api::routes::is_segment(&one.name), "{}", one.name);
    }

    #[test]
    fn another_content_is_another_name() {
        let name = |content| pack(tree(&[("a", content)]).path()).expect("packed").name;
        assert_ne!(name("1"), name("2"));
    }

    #[test]
    fn what_the_ignore_files_say_stays_here() {
        let dir = tree(&[
            (".gitignore", "*.log\n"),
            (".rayignore", "data/\n"),
            ("run.log", ""),
            ("data/big.bin", ""),
            (".git/HEAD", ""),
            ("sub/__pycache__/x.pyc", ""),
            ("sub/keep.py", ""),
        ]);
        assert_eq!(
            names(&pack(dir.path()).expect("packed")),
            [".gitignore", ".rayignore", "sub/keep.py"]
        );
    }

    #[test]
    fn the_content_comes_back_out() {
        let dir = tree(&[("main.py", "print('hello')\n")]);
        let package = pack(dir.path()).expect("packed");
        let mut archive = zip::ZipArchive::new(Cursor::new(&package.bytes)).expect("a zip");
        let mut content = String::new();
        archive
            .by_name("main.py")
            .expect("there")
            .read_to_string(&mut content)
            .expect("read");
        assert_eq!(content, "print('hello')\n");
    }

    #[test]
    fn what_is_not_a_directory_is_told_by_name() {
        let error = pack(Path::new("/nonexistent/dir")).expect_err("nothing there");
        assert!(
            error.0.contains("/nonexistent/dir is not a directory"),
            "{error:?}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_circle_of_links_is_an_error_and_not_an_endless_walk() {
        let dir = tree(&[("a/b", "")]);
        std::os::unix::fs::symlink("..", dir.path().join("a/loop")).expect("linked");
        assert!(pack(dir.path()).is_err());
    }
}
