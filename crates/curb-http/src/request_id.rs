//! Request ids: 128 random bits, made here and accepted from nobody.
//!
//! A client's own `x-request-id` is removed before a service sees the request, so that an id in
//! a log always names one request of this server.

use std::cell::RefCell;
use std::fmt;

use http::HeaderValue;
use http::header::HeaderName;

/// The response header that carries the id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const ID_BYTES: usize = 16;
/// Ids drawn from the kernel in one call; a call costs more than the id's other work together.
const BATCH: usize = 32;

/// 128 random bits that name one request. Shown as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; ID_BYTES]);

/// The kernel's random source could not be read; without ids no request is served.
#[derive(Debug, thiserror::Error)]
#[error("the system's random source gave no bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

struct Pool {
    bytes: [u8; ID_BYTES * BATCH],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> =
        const { RefCell::new(Pool { bytes: [0; ID_BYTES * BATCH], used: ID_BYTES * BATCH }) };
}

/// 128 bits of the kernel's random source, each used once; drawn for many calls at a time.
///
/// # Errors
/// The source could not be read.
pub fn random_bytes() -> Result<[u8; ID_BYTES], NoRandomness> {
    POOL.with_borrow_mut(|pool| {
        if pool.used == pool.bytes.len() {
            getrandom::fill(&mut pool.bytes).map_err(NoRandomness)?;
            pool.used = 0;
        }
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&pool.bytes[pool.used..pool.used + ID_BYTES]);
        pool.used += ID_BYTES;
        Ok(id)
    })
}

impl RequestId {
    /// A fresh id from the kernel's random source.
    pub fn random() -> Result<Self, NoRandomness> {
        random_bytes().map(Self)
    }

    /// The id with these bits, for values read back from a log or a journal.
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }

    fn hex(self) -> [u8; ID_BYTES * 2] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = [0; ID_BYTES * 2];
        for (i, byte) in self.0.iter().enumerate() {
            out[2 * i] = DIGITS[usize::from(byte >> 4)];
            out[2 * i + 1] = DIGITS[usize::from(byte & 15)];
        }
        out
    }

    /// The id as a header value.
    pub fn header_value(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.hex()).expect("hex digits are legal in a header value")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_id_is_32_lower_case_hex_digits() {
        let id = RequestId::from_bytes([
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xab, 0xcd, 0xef, 0xf0, 0xff,
        ]);
        assert_eq!(id.to_string(), "000102030405060708090aabcdeff0ff");
        assert_eq!(id.header_value(), "000102030405060708090aabcdeff0ff");
    }

    #[test]
    fn ten_thousand_ids_from_four_threads_are_all_different() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    (0..2_500)
                        .map(|_| RequestId::random().unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let all: HashSet<_> = threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        assert_eq!(all.len(), 10_000);
    }
}
