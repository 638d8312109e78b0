//! Evidence in words.

use std::fmt;

use super::Evidence;

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::Memory { now, usual } => {
                write!(f, "memory of {now}, where up to {usual} is usual")
            }
            Evidence::Cpu { now, usual } => {
                write!(f, "{now} CPUs, where up to {usual} is usual")
            }
            Evidence::Tasks { now, usual } => write!(
                f,
                "{now} processes and threads, where up to {usual} is usual"
            ),
            Evidence::Leak {
                now,
                per_hour,
                over,
                meets,
            } => {
                write!(
                    f,
                    "memory of {now} that has grown by {per_hour} an hour for {over} without being given back"
                )?;
                match meets {
                    Some(m) => write!(
                        f,
                        "; at this rate it meets its limit of {} in {}",
                        m.limit, m.within
                    ),
                    None => Ok(()),
                }
            }
            Evidence::Pinned {
                cpu,
                io_bytes,
                waits,
                units,
            } => {
                write!(f, "{cpu} CPUs and no progress:")?;
                let known = [
                    (*io_bytes, "bytes read or written"),
                    (*waits, "waits"),
                    (*units, "units of work"),
                ];
                let known = known.iter().filter_map(|(n, what)| Some(((*n)?, *what)));
                for (i, (n, what)) in known.enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma} {n} {what}")?;
                }
                Ok(())
            }
            Evidence::Restarts { times, within } => {
                write!(f, "started {times} times within {within}")
            }
        }
    }
}
