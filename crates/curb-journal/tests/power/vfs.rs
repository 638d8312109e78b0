//! A layer between SQLite and its files that writes down what is done to those of some directories.
//!
//! It stands on the system's own layer, which does the work, except for syncs: those are only written down, since what a
//! sync is worth is decided by [`crate::disk`]. The index of the log (`-shm`) is shared memory and never on its way to disk.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::ffi;

/// What was done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A file was opened, and made if it was not there.
    Open(String),
    Write(String, usize, Vec<u8>),
    Truncate(String, usize),
    /// A sync ended.
    Sync(String),
    /// A file was removed; whether the directory was synced after that.
    Delete(String, bool),
    /// Somebody was told that record `.0` is durable.
    Told(u64),
    /// Somebody was told that the snapshot of record `.0` is durable.
    ToldSnapshot(u64),
}

/// What was done in one directory.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Step>>>);

impl Log {
    pub(crate) fn add(&self, step: Step) {
        lock(&self.0).push(step);
    }

    pub(crate) fn take(&self) -> Vec<Step> {
        std::mem::take(&mut lock(&self.0))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directories of interest.
static LOGS: Mutex<Vec<(PathBuf, Log)>> = Mutex::new(Vec::new());
static BELOW: OnceLock<Below> = OnceLock::new();

/// Writes down what is done in `dir` from now on.
pub(crate) fn record(dir: &Path) -> Log {
    BELOW.get_or_init(register);
    let dir = dir.canonicalize().expect("a directory");
    let log = Log::default();
    lock(&LOGS).push((dir, log.clone()));
    log
}

fn log_of(path: &Path) -> Option<(Log, String)> {
    let dir = path.parent()?;
    let logs = lock(&LOGS);
    let (_, log) = logs.iter().rev().find(|(of, _)| of == dir)?;
    Some((log.clone(), path.file_name()?.to_str()?.to_owned()))
}

/// The system's layer.
struct Below {
    vfs: *mut ffi::sqlite3_vfs,
}

// SAFETY: SQLite allows its layers to be called from any thread, and the pointer is never changed.
unsafe impl Send for Below {}
// SAFETY: as above.
unsafe impl Sync for Below {}

fn below() -> *mut ffi::sqlite3_vfs {
    BELOW.get_or_init(register).vfs
}

fn register() -> Below {
    // SAFETY: asks for the default layer, which lives as long as the process; the copy is leaked, so that it does, too.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(ptr::null());
        assert!(!vfs.is_null(), "SQLite has no layer");
        let ours = Box::leak(Box::new(ptr::read(vfs)));
        ours.zName = c"recorded".as_ptr();
        ours.pNext = ptr::null_mut();
        ours.szOsFile = offset() + (*vfs).szOsFile;
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        assert_eq!(ffi::sqlite3_vfs_register(ours, 1), ffi::SQLITE_OK);
        Below { vfs }
    }
}

/// An open file; the one of the layer below comes behind it, at [`offset`].
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// Its log and its name, if it is of interest; a box.
    seen: *mut (Log, String),
}

fn offset() -> c_int {
    c_int::try_from(size_of::<File>().next_multiple_of(16)).expect("small")
}

/// # Safety
/// `file` was opened by [`open`].
unsafe fn lower(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` made room for it there.
    unsafe {
        file.cast::<u8>()
            .add(usize::try_from(offset()).expect("small"))
            .cast()
    }
}

/// # Safety
/// `file` was opened by [`open`].
unsafe fn note(file: *mut ffi::sqlite3_file, step: impl FnOnce(String) -> Step) {
    // SAFETY: the box lives until the file is closed.
    if let Some((log, name)) = unsafe { (*file.cast::<File>()).seen.as_ref() } {
        log.add(step(name.clone()));
    }
}

/// Calls the same function of the layer below.
macro_rules! pass {
    ($name:ident, $file:ident $(, $arg:ident)*) => {{
        let lower = lower($file);
        match (*(*lower).pMethods).$name {
            Some(function) => function(lower $(, $arg)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// Functions that only pass on what they are called with.
macro_rules! passing {
    ($($ours:ident $name:ident ($($arg:ident: $of:ty),*);)*) => {$(
        unsafe extern "C" fn $ours(file: *mut ffi::sqlite3_file $(, $arg: $of)*) -> c_int {
            // SAFETY: SQLite calls it with a file that `open` opened, and with what the layer below expects.
            unsafe { pass!($name, file $(, $arg)*) }
        }
    )*};
}

passing! {
    read xRead(to: *mut c_void, len: c_int, at: i64);
    file_size xFileSize(size: *mut i64);
    lock_file xLock(level: c_int);
    unlock_file xUnlock(level: c_int);
    check_reserved xCheckReservedLock(out: *mut c_int);
    control xFileControl(what: c_int, argument: *mut c_void);
    sector_size xSectorSize();
    characteristics xDeviceCharacteristics();
    shm_map xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void);
    shm_lock xShmLock(from: c_int, count: c_int, flags: c_int);
    shm_unmap xShmUnmap(remove: c_int);
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as for the passing functions.
    unsafe {
        let lower = lower(file);
        if let Some(barrier) = (*(*lower).pMethods).xShmBarrier {
            barrier(lower);
        }
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    len: c_int,
    at: i64,
) -> c_int {
    // SAFETY: SQLite gives `len` readable bytes.
    unsafe {
        let size = usize::try_from(len).expect("a length");
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), size).to_vec();
        let to = usize::try_from(at).expect("a place");
        note(file, |name| Step::Write(name, to, bytes));
        pass!(xWrite, file, from, len, at)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: as for the passing functions.
    unsafe {
        let to = usize::try_from(size).expect("a size");
        note(file, |name| Step::Truncate(name, to));
        pass!(xTruncate, file, size)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: as for the passing functions.
    unsafe { note(file, Step::Sync) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the box was made by `open`, and nobody uses the file after this.
    unsafe {
        let code = pass!(xClose, file);
        let ours = file.cast::<File>();
        if !(*ours).seen.is_null() {
            drop(Box::from_raw((*ours).seen));
            (*ours).seen = ptr::null_mut();
        }
        code
    }
}

/// Version 2: without the functions that map a file into memory, which would write behind our back.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock_file),
    xUnlock: Some(unlock_file),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// # Safety
/// `name` is null or ends with a zero byte.
unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller says so.
    let text = unsafe { CStr::from_ptr(name) };
    text.to_str().ok().map(PathBuf::from)
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a file of `szOsFile` bytes, and the layer below opens its own part of it. The name goes down as
    // the pointer that came, since what stands behind it is read as well.
    unsafe {
        let (ours, lower) = (file.cast::<File>(), lower(file));
        (*ours).base.pMethods = ptr::null();
        (*ours).seen = ptr::null_mut();
        let below = below();
        let Some(function) = (*below).xOpen else {
            return ffi::SQLITE_CANTOPEN;
        };
        let code = function(below, name, lower, flags, out);
        if (*lower).pMethods.is_null() {
            return code;
        }
        (*ours).base.pMethods = &raw const METHODS;
        if let Some((log, name)) = path_of(name).as_deref().and_then(log_of) {
            if code == ffi::SQLITE_OK {
                log.add(Step::Open(name.clone()));
            }
            (*ours).seen = Box::into_raw(Box::new((log, name)));
        }
        code
    }
}

unsafe extern "C" fn delete(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_dir: c_int,
) -> c_int {
    // SAFETY: the layer below gets what SQLite gave.
    unsafe {
        let below = below();
        let Some(function) = (*below).xDelete else {
            return ffi::SQLITE_IOERR_DELETE;
        };
        let code = function(below, name, 0);
        if code == ffi::SQLITE_OK
            && let Some((log, name)) = path_of(name).as_deref().and_then(log_of)
        {
            log.add(Step::Delete(name, sync_dir != 0));
        }
        code
    }
}
