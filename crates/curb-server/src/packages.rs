//! The package store: what users upload for their jobs, kept until it is in Ray.
//!
//! Each user has names of their own and the first write of a name wins: nobody, not even its owner, can change what a
//! waiting job will run. Files are streamed to disk under a temporary name, synced, and then linked into place.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use curb_http::response::size_text;
use tokio::io::AsyncWriteExt;

use crate::spec::user_tag;

/// Longest name of a package: with the user's tag in front it must still be one segment for Ray.
const MAX_NAME: usize = 150;
/// Most packages of one user.
const MAX_PER_USER: usize = 10_000;

/// Checks the form of a package's name: one canonical path segment.
///
/// # Errors
/// What would be right.
pub fn check_package_name(name: &str) -> Result<(), String> {
    let ok = (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && !name.ends_with('.');
    if ok {
        return Ok(());
    }
    let shown: String = name.chars().take(60).collect();
    Err(format!(
        "`{shown}` cannot be a package's name: use 1 to {MAX_NAME} letters, digits and `._-`, such as _ray_pkg_0123456789abcdef.zip"
    ))
}

/// Why a package was not taken.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// One user's bound.
    #[error(
        "your packages would take more than {}, and jobs that wait need what is here",
        size_text(*.limit)
    )]
    UserFull {
        /// The bound in bytes.
        limit: u64,
    },
    /// The bound of all.
    #[error("the package store is full ({}), and jobs that wait need what is here",
        size_text(*.limit))]
    Full {
        /// The bound in bytes.
        limit: u64,
    },
    /// Too many.
    #[error("you have {MAX_PER_USER} packages, and jobs that wait need them")]
    TooMany,
    /// The disk.
    #[error(
        "the package could not be kept: the store's disk does not take it. Jobs that need no package, or whose packages are here already, are not affected"
    )]
    Disk(#[from] io::Error),
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> &'static str {
        match self {
            Self::UserFull { .. } => {
                "submit again when some have started, or make the packages smaller"
            }
            Self::Full { .. } => "submit again later, or ask the operator for room",
            Self::TooMany => "submit again when some have started",
            Self::Disk(_) => {
                "submit again when the operator has made room; the cause is in the server's log"
            }
        }
    }

    /// Whether removing packages that nothing needs may help.
    #[must_use]
    pub fn wants_room(&self) -> bool {
        !matches!(self, StoreError::Disk(_))
    }
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    size: u64,
    used: SystemTime,
}

#[derive(Debug, Default)]
struct Index {
    kept: HashMap<String, HashMap<String, Kept>>,
    /// Bytes on disk and on their way, by user.
    bytes: HashMap<String, u64>,
    total: u64,
}

/// The store of one data directory.
#[derive(Debug)]
pub struct PackageStore {
    dir: PathBuf,
    per_user: u64,
    in_all: u64,
    index: Mutex<Index>,
}

impl PackageStore {
    /// Opens the store, removing what an earlier process left half written.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(data: &Path, per_user: u64, in_all: u64) -> io::Result<PackageStore> {
        let dir = data.join("packages");
        let partial = dir.join(".partial");
        if partial.exists() {
            std::fs::remove_dir_all(&partial)?;
        }
        std::fs::create_dir_all(&partial)?;
        restrict(&dir)?;
        let mut index = Index::default();
        for user in std::fs::read_dir(&dir)? {
            let user = user?;
            let tag = user.file_name().to_string_lossy().into_owned();
            if tag.starts_with('.') || !user.file_type()?.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(user.path())? {
                let file = file?;
                let meta = file.metadata()?;
                let name = file.file_name().to_string_lossy().into_owned();
                let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                index.add(&tag, meta.len());
                index.kept.entry(tag.clone()).or_default().insert(
                    name,
                    Kept {
                        size: meta.len(),
                        used,
                    },
                );
            }
        }
        Ok(PackageStore {
            dir,
            per_user,
            in_all,
            index: Mutex::new(index),
        })
    }

    /// Whether the user has a package of this name; asking keeps it from being collected for a while.
    pub fn has(&self, user: &str, name: &str) -> bool {
        let mut index = self.lock();
        let found = index
            .kept
            .get_mut(&user_tag(user))
            .and_then(|all| all.get_mut(name));
        match found {
            Some(kept) => {
                kept.used = SystemTime::now();
                true
            }
            None => false,
        }
    }

    /// Where the file is and how long it is.
    pub fn find(&self, user: &str, name: &str) -> Option<(PathBuf, u64)> {
        let tag = user_tag(user);
        let size = self.lock().kept.get(&tag)?.get(name)?.size;
        Some((self.dir.join(tag).join(name), size))
    }

    /// Begins to take a package of unknown length. Dropped before [`Upload::finish`], it leaves nothing.
    ///
    /// # Errors
    /// No room, or the disk refuses.
    pub async fn begin(&self, user: &str, name: &str) -> Result<Upload<'_>, StoreError> {
        let tag = user_tag(user);
        if self.lock().kept.get(&tag).map_or(0, HashMap::len) >= MAX_PER_USER {
            return Err(StoreError::TooMany);
        }
        let mut random = [0u8; 12];
        getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
        let path = self.dir.join(".partial").join(hex::encode(random));
        let file = tokio::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .await?;
        Ok(Upload {
            store: self,
            file: Some(file),
            path,
            tag,
            name: name.to_owned(),
            size: 0,
        })
    }

    /// Removes packages that nothing needs and nobody has used for `age`; says how many.
    pub fn collect(&self, needed: &HashSet<(String, String)>, age: Duration) -> usize {
        let now = SystemTime::now();
        let mut gone = Vec::new();
        let mut index = self.lock();
        for (tag, all) in &index.kept {
            for (name, kept) in all {
                let idle = now.duration_since(kept.used).unwrap_or_default();
                if idle >= age && !needed.contains(&(tag.clone(), name.clone())) {
                    gone.push((tag.clone(), name.clone(), kept.size));
                }
            }
        }
        for (tag, name, size) in &gone {
            // A file that cannot be removed is found again at the next start.
            let _ = std::fs::remove_file(self.dir.join(tag).join(name));
            if let Some(all) = index.kept.get_mut(tag) {
                all.remove(name);
            }
            index.sub(tag, *size);
        }
        gone.len()
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        // The index is whole between any two statements that could panic.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, tag: &str, more: u64) -> Result<(), StoreError> {
        let mut index = self.lock();
        if index.bytes.get(tag).copied().unwrap_or(0) + more > self.per_user {
            return Err(StoreError::UserFull {
                limit: self.per_user,
            });
        }
        if index.total + more > self.in_all {
            return Err(StoreError::Full { limit: self.in_all });
        }
        index.add(tag, more);
        Ok(())
    }
}

impl Index {
    fn add(&mut self, tag: &str, bytes: u64) {
        *self.bytes.entry(tag.to_owned()).or_default() += bytes;
        self.total += bytes;
    }

    fn put(&mut self, tag: &str, name: &str, kept: Kept) {
        let all = self.kept.entry(tag.to_owned()).or_default();
        all.insert(name.to_owned(), kept);
    }

    fn knows(&self, tag: &str, name: &str) -> bool {
        self.kept.get(tag).is_some_and(|all| all.contains_key(name))
    }

    fn sub(&mut self, tag: &str, bytes: u64) {
        if let Some(all) = self.bytes.get_mut(tag) {
            *all = all.saturating_sub(bytes);
        }
        self.total = self.total.saturating_sub(bytes);
    }
}

/// A package on its way to disk.
#[derive(Debug)]
pub struct Upload<'a> {
    store: &'a PackageStore,
    file: Option<tokio::fs::File>,
    path: PathBuf,
    tag: String,
    name: String,
    size: u64,
}

impl Upload<'_> {
    /// Takes the next piece.
    ///
    /// # Errors
    /// No room, or the disk refuses.
    pub async fn write(&mut self, piece: &Bytes) -> Result<(), StoreError> {
        self.store.reserve(&self.tag, piece.len() as u64)?;
        self.size += piece.len() as u64;
        let file = self
            .file
            .as_mut()
            .ok_or_else(|| io::Error::other("already finished"))?;
        file.write_all(piece).await?;
        Ok(())
    }

    /// Makes it durable under its name. `false`: somebody was first, and what was first stays.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn finish(mut self) -> Result<bool, StoreError> {
        let mut file = self
            .file
            .take()
            .ok_or_else(|| io::Error::other("already finished"))?;
        file.flush().await?;
        file.sync_all().await?;
        drop(file);
        let (store, tag) = (self.store.dir.clone(), self.tag.clone());
        let (partial, name) = (self.path.clone(), self.name.clone());
        let (linked, size) =
            tokio::task::spawn_blocking(move || link(&store, &tag, &name, &partial))
                .await
                .map_err(|e| io::Error::other(e.to_string()))??;
        let kept = Kept {
            size,
            used: SystemTime::now(),
        };
        let mut index = self.store.lock();
        if index.knows(&self.tag, &self.name) {
            // It is counted: by who was first, or by who found it there before the first came to say so.
        } else if linked {
            index.put(&self.tag, &self.name, kept);
            // The bytes stay counted: they are the file's now.
            self.size = 0;
        } else {
            // Who linked it was not there to say so, or a collection could not remove it: it is on disk and counts.
            index.add(&self.tag, size);
            index.put(&self.tag, &self.name, kept);
        }
        Ok(linked)
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        self.store.lock().sub(&self.tag, self.size);
        // A file that cannot be removed now is removed at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Links a file into place, durably. Says whether it was the first of its name, and how long the one that is there is.
fn link(store: &Path, tag: &str, name: &str, partial: &Path) -> io::Result<(bool, u64)> {
    let dir = store.join(tag);
    match std::fs::create_dir(&dir) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e),
    }
    let target = dir.join(name);
    let linked = match std::fs::hard_link(partial, &target) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
        Err(e) => return Err(e),
    };
    std::fs::File::open(&dir)?.sync_all()?;
    // Always: whoever made the directory may not have come so far.
    std::fs::File::open(store)?.sync_all()?;
    Ok((linked, std::fs::metadata(&target)?.len()))
}

fn restrict(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    }
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn put(
        store: &PackageStore,
        user: &str,
        name: &str,
        body: &'static [u8],
    ) -> Result<bool, StoreError> {
        let mut upload = store.begin(user, name).await?;
        upload.write(&Bytes::from_static(body)).await?;
        upload.finish().await
    }

    #[tokio::test]
    async fn the_first_write_wins_and_each_user_has_names_of_their_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = PackageStore::open(dir.path(), 100, 1000).expect("a store");
        assert!(put(&store, "ana", "p.zip", b"good").await.expect("taken"));
        assert!(
            !put(&store, "ana", "p.zip", b"evil!")
                .await
                .expect("ignored")
        );
        assert!(put(&store, "li", "p.zip", b"other").await.expect("taken"));
        let (path, size) = store.find("ana", "p.zip").expect("there");
        assert_eq!(
            (std::fs::read(path).expect("readable"), size),
            (b"good".to_vec(), 4)
        );
        drop(store);
        let store = PackageStore::open(dir.path(), 100, 1000).expect("again");
        assert!(
            store.has("ana", "p.zip") && store.has("li", "p.zip") && !store.has("kim", "p.zip")
        );
    }

    #[tokio::test]
    async fn bounds_hold_for_one_user_and_for_all_and_a_failed_upload_gives_its_room_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = PackageStore::open(dir.path(), 10, 15).expect("a store");
        assert!(matches!(
            put(&store, "ana", "a", b"12345678901").await,
            Err(StoreError::UserFull { .. })
        ));
        assert!(put(&store, "ana", "a", b"1234567890").await.expect("fits"));
        assert!(matches!(
            put(&store, "li", "a", b"123456").await,
            Err(StoreError::Full { .. })
        ));
        assert!(put(&store, "li", "a", b"12345").await.expect("fits"));
        let partial = std::fs::read_dir(dir.path().join("packages/.partial"))
            .expect("there")
            .count();
        assert_eq!(partial, 0);
    }

    #[tokio::test]
    async fn a_file_on_disk_that_nobody_knew_of_is_found_by_the_next_upload_with_its_own_size() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = PackageStore::open(dir.path(), 100, 1000).expect("a store");
        let place = dir.path().join("packages").join(user_tag("ana"));
        std::fs::create_dir(&place).expect("made");
        std::fs::write(place.join("p.zip"), b"1234567").expect("written");
        assert!(!store.has("ana", "p.zip"));
        assert!(!put(&store, "ana", "p.zip", b"123").await.expect("taken"));
        assert!(store.has("ana", "p.zip"));
        assert_eq!(store.find("ana", "p.zip").expect("there").1, 7);
        let counted = |store: &PackageStore| store.lock().total;
        assert_eq!(counted(&store), 7, "the upload's own bytes are given back");
        assert!(!put(&store, "ana", "p.zip", b"123").await.expect("again"));
        assert_eq!(counted(&store), 7, "it is counted once");
        assert_eq!(store.collect(&HashSet::new(), Duration::ZERO), 1);
        assert_eq!(counted(&store), 0);
    }

    #[tokio::test]
    async fn only_what_nothing_needs_is_collected() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = PackageStore::open(dir.path(), 100, 1000).expect("a store");
        put(&store, "ana", "a", b"1").await.expect("taken");
        put(&store, "ana", "b", b"1").await.expect("taken");
        let needed = HashSet::from([(user_tag("ana"), "b".to_owned())]);
        assert_eq!(store.collect(&needed, Duration::from_secs(3600)), 0);
        assert_eq!(store.collect(&needed, Duration::ZERO), 1);
        assert!(!store.has("ana", "a") && store.has("ana", "b"));
    }

    #[tokio::test]
    async fn of_two_uploads_of_one_name_at_once_the_first_to_end_stays_and_counts() {
        for _ in 0..20 {
            two_at_once().await;
        }
    }

    async fn two_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = PackageStore::open(dir.path(), 100, 1000).expect("a store");
        let mut first = store.begin("ana", "p.zip").await.expect("begun");
        let mut second = store.begin("ana", "p.zip").await.expect("begun");
        first
            .write(&Bytes::from_static(b"one"))
            .await
            .expect("room");
        second
            .write(&Bytes::from_static(b"second"))
            .await
            .expect("room");
        assert_eq!(
            store.lock().total,
            9,
            "both take room while they are on their way"
        );
        let (second, first) = tokio::join!(second.finish(), first.finish());
        let (second, first) = (second.expect("whole"), first.expect("whole"));
        assert!(first != second, "one of them was first");
        let wanted: &[u8] = if first { b"one" } else { b"second" };
        let (path, size) = store.find("ana", "p.zip").expect("there");
        assert_eq!(std::fs::read(path).expect("readable"), wanted);
        assert_eq!(
            (store.lock().total, size),
            (wanted.len() as u64, wanted.len() as u64)
        );
    }

    #[tokio::test]
    async fn what_a_crash_left_half_written_is_gone_at_the_next_start_and_takes_no_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = PackageStore::open(dir.path(), 100, 1000).expect("a store");
        let mut upload = store.begin("ana", "p.zip").await.expect("begun");
        upload
            .write(&Bytes::from_static(b"half"))
            .await
            .expect("room");
        // Nothing is tidied up, as when the process is killed.
        std::mem::forget(upload);
        let partial = dir.path().join("packages/.partial");
        let count = || std::fs::read_dir(&partial).expect("there").count();
        assert_eq!(count(), 1);
        let store = PackageStore::open(dir.path(), 100, 1000).expect("again");
        assert_eq!((count(), store.lock().total), (0, 0));
        assert!(!store.has("ana", "p.zip"));
    }

    #[test]
    fn names_that_are_no_single_segment_are_refused() {
        for ok in ["_ray_pkg_0f.zip", "a", "x-1.whl"] {
            assert_eq!(check_package_name(ok), Ok(()));
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            ".hidden",
            "a%2f",
            "a b",
            "a.",
            "-a",
            &"x".repeat(151),
        ] {
            assert!(check_package_name(bad).is_err(), "{bad}");
        }
    }
}
