//! The tables, and how they are changed.

use std::collections::HashMap;
use std::path::Path;

use curb_core::resource::Resources;
use curb_core::subject::{JobId, Subject};
use curb_core::time::Timestamp;
use curb_core::usage::{Book, Change, Open, ResourceTime};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::Error;

/// Another number: the table is made anew.
const FORMAT: i64 = 1;

// Who and what are kept once each: a thousand jobs of one user ask for the same few things.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS cursor (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    format INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    hash   BLOB NOT NULL,
    at     INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS open (job TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subjects (id INTEGER PRIMARY KEY, cluster TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (cluster, body)) STRICT;
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS grants (
    job     TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    request INTEGER NOT NULL,
    began   INTEGER NOT NULL,
    ended   INTEGER,
    watched INTEGER NOT NULL DEFAULT 0,
    held    TEXT,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS grants_by_end ON grants (ended);
";

/// Up to where the journal was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) seq: u64,
    pub(crate) hash: Vec<u8>,
}

/// The file, open.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) conn: Connection,
}

impl Table {
    /// Opens the file or makes it, and says where it stands. `None`: it cannot be used as it is.
    pub(crate) fn open(path: &Path) -> Result<Option<(Table, Cursor, Book)>, Error> {
        match Table::try_open(path) {
            Ok(found) => Ok(found),
            // Damaged, or not what we wrote: what is in it is in the journal too.
            Err(Error::Table(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn try_open(path: &Path) -> Result<Option<(Table, Cursor, Book)>, Error> {
        private_file(path)?;
        let conn = Connection::open(path)?;
        conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        // What a loss of power takes is made again from the journal.
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        conn.execute_batch(TABLES)?;
        let table = Table { conn };
        let cursor = table
            .conn
            .query_row("SELECT format, seq, hash, at FROM cursor", [], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?.unsigned_abs(),
                    row.get::<_, Vec<u8>>(2)?,
                    row.get::<_, i64>(3)?,
                ))
            })
            .optional()?;
        let Some((format, seq, hash, at)) = cursor else {
            let start = Cursor {
                seq: 0,
                hash: Vec::new(),
            };
            return Ok(Some((table, start, Book::default())));
        };
        if format != FORMAT {
            return Ok(None);
        }
        let Some(open) = table.open_jobs()? else {
            return Ok(None);
        };
        let book = Book::restored(Timestamp(at), open);
        Ok(Some((table, Cursor { seq, hash }, book)))
    }

    fn open_jobs(&self) -> Result<Option<HashMap<JobId, Open>>, Error> {
        let mut all = HashMap::new();
        let mut statement = self.conn.prepare("SELECT job, body FROM open")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (job, body): (String, String) = (row.get(0)?, row.get(1)?);
            let (Ok(job), Ok(open)) = (JobId::parse(&job), serde_json::from_str(&body)) else {
                return Ok(None);
            };
            all.insert(job, open);
        }
        Ok(Some(all))
    }
}

/// Makes the file if it is not there, for its owner alone, as the journal's is.
fn private_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// A transaction, with what it has looked up.
pub(crate) struct Writing<'a> {
    tx: Transaction<'a>,
    subjects: HashMap<(String, Subject), i64>,
    requests: HashMap<Resources, i64>,
}

impl<'a> Writing<'a> {
    pub(crate) fn begin(table: &'a mut Table) -> Result<Writing<'a>, Error> {
        Ok(Writing {
            tx: table.conn.transaction()?,
            subjects: HashMap::new(),
            requests: HashMap::new(),
        })
    }

    pub(crate) fn finish(self, cursor: &Cursor, at: Timestamp) -> Result<(), Error> {
        self.tx.execute(
            "INSERT OR REPLACE INTO cursor (one, format, seq, hash, at) VALUES (1, ?1, ?2, ?3, ?4)",
            params![FORMAT, cursor.seq.cast_signed(), cursor.hash, at.0],
        )?;
        Ok(self.tx.commit()?)
    }

    /// Writes down what an event meant. The book is as it is after it.
    pub(crate) fn write(&mut self, book: &Book, change: Change) -> Result<(), Error> {
        match change {
            Change::Keep(job) => {
                if let Some(open) = book.open(&job) {
                    let body = serde_json::to_string(open).unwrap_or_default();
                    self.run(
                        "INSERT OR REPLACE INTO open (job, body) VALUES (?1, ?2)",
                        params![job.as_str(), body],
                    )?;
                }
            }
            Change::Forget(job) => {
                self.run("DELETE FROM open WHERE job = ?1", params![job.as_str()])?;
            }
            Change::Begin { job, attempt, at } => {
                let Some(open) = book.open(&job) else {
                    return Ok(());
                };
                let subject = self.subject(&open.cluster, &open.subject)?;
                let request = self.request(&open.request)?;
                self.run(
                    "INSERT OR REPLACE INTO grants (job, attempt, subject, request, began) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![job.as_str(), attempt, subject, request, at.0],
                )?;
            }
            Change::End { job, attempt, at } => {
                self.run(
                    "UPDATE grants SET ended = ?3 WHERE job = ?1 AND attempt = ?2",
                    params![job.as_str(), attempt, at.0],
                )?;
            }
            Change::Saw {
                job,
                attempt,
                held,
                watched,
            } => self.saw(&job, attempt, held, watched.0)?,
        }
        Ok(())
    }

    fn saw(
        &mut self,
        job: &JobId,
        attempt: u32,
        mut held: ResourceTime,
        watched: u64,
    ) -> Result<(), Error> {
        let before: Option<Option<String>> = self
            .tx
            .prepare_cached("SELECT held FROM grants WHERE job = ?1 AND attempt = ?2")?
            .query_row(params![job.as_str(), attempt], |row| row.get(0))
            .optional()?;
        let Some(before) = before else {
            return Ok(());
        };
        let before: ResourceTime = before
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        for (resource, amount) in before {
            let sum = held.entry(resource).or_insert(0);
            *sum = sum.saturating_add(amount);
        }
        let held = serde_json::to_string(&held).unwrap_or_default();
        self.run(
            "UPDATE grants SET held = ?3, watched = watched + ?4 WHERE job = ?1 AND attempt = ?2",
            params![job.as_str(), attempt, held, watched.cast_signed()],
        )
    }

    fn run(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), Error> {
        self.tx.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    fn subject(&mut self, cluster: &str, subject: &Subject) -> Result<i64, Error> {
        let key = (cluster.to_owned(), subject.clone());
        if let Some(id) = self.subjects.get(&key) {
            return Ok(*id);
        }
        let body = serde_json::to_string(subject).unwrap_or_default();
        self.run(
            "INSERT OR IGNORE INTO subjects (cluster, body) VALUES (?1, ?2)",
            params![cluster, body],
        )?;
        let id = self.tx.query_row(
            "SELECT id FROM subjects WHERE cluster = ?1 AND body = ?2",
            params![cluster, body],
            |row| row.get(0),
        )?;
        self.subjects.insert(key, id);
        Ok(id)
    }

    fn request(&mut self, request: &Resources) -> Result<i64, Error> {
        if let Some(id) = self.requests.get(request) {
            return Ok(*id);
        }
        let body = serde_json::to_string(request).unwrap_or_default();
        self.run(
            "INSERT OR IGNORE INTO requests (body) VALUES (?1)",
            params![body],
        )?;
        let id = self.tx.query_row(
            "SELECT id FROM requests WHERE body = ?1",
            params![body],
            |row| row.get(0),
        )?;
        self.requests.insert(request.clone(), id);
        Ok(id)
    }
}
