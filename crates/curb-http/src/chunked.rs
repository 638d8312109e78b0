//! Follows a chunked body without changing or keeping a byte of it. Pure.
//!
//! Accepted is the plain form alone: hex size, CR LF, data, CR LF, and `0 CR LF CR LF` at the end.
//! Extensions, trailers, padding and bare line feeds are what request smuggling is made of.

use crate::violation::Violation;

/// Most hex digits of a chunk size: 4 GiB a chunk is more than any body bound.
const MAX_SIZE_DIGITS: u8 = 8;

/// Where in a chunked body the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkReader {
    /// Before the first digit of a size.
    #[default]
    Start,
    /// Inside a size line.
    Size {
        /// The size so far.
        value: u64,
        /// Digits so far.
        digits: u8,
    },
    /// After the CR of a size line.
    SizeLf(u64),
    /// Inside a chunk, that many bytes before its end (at least 1).
    Data(u64),
    /// After a chunk's last byte.
    DataCr,
    /// After the CR that ends a chunk.
    DataLf,
    /// After the size line of the last chunk.
    EndCr,
    /// After the CR of the empty line at the end.
    EndLf,
    /// Behind the body.
    Done,
}

/// What one call to [`ChunkReader::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes, from the front, belong to the body and are well-formed.
    pub taken: usize,
    /// Why the byte after them was refused, if one was.
    pub bad: Option<Violation>,
}

impl ChunkReader {
    /// Reads on, up to the end of the body or the first byte that is refused.
    pub fn read(&mut self, bytes: &[u8]) -> Progress {
        let mut taken = 0;
        while taken < bytes.len() && *self != Self::Done {
            if let Self::Data(left) = *self {
                let here = left.min((bytes.len() - taken) as u64);
                taken += here as usize;
                *self = if left == here {
                    Self::DataCr
                } else {
                    Self::Data(left - here)
                };
                continue;
            }
            match self.step(bytes[taken]) {
                Ok(next) => *self = next,
                Err(bad) => {
                    return Progress {
                        taken,
                        bad: Some(bad),
                    };
                }
            }
            taken += 1;
        }
        Progress { taken, bad: None }
    }

    /// Whether the body's last byte has been read.
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }

    fn step(self, byte: u8) -> Result<Self, Violation> {
        match (self, byte) {
            (Self::Start, _) => {
                let value = hex(byte).ok_or(Violation::ChunkSize)?;
                Ok(Self::Size { value, digits: 1 })
            }
            (Self::Size { value, .. }, b'\r') => Ok(Self::SizeLf(value)),
            (Self::Size { .. }, b';') => Err(Violation::ChunkExtension),
            (Self::Size { value, digits }, _) => {
                let digit = hex(byte).ok_or(Violation::ChunkSizeLine)?;
                if value == 0 || digits == MAX_SIZE_DIGITS {
                    return Err(Violation::ChunkSize);
                }
                Ok(Self::Size {
                    value: value * 16 + digit,
                    digits: digits + 1,
                })
            }
            (Self::SizeLf(0), b'\n') => Ok(Self::EndCr),
            (Self::SizeLf(size), b'\n') => Ok(Self::Data(size)),
            (Self::SizeLf(_), _) => Err(Violation::ChunkSizeLine),
            (Self::DataCr, b'\r') => Ok(Self::DataLf),
            (Self::DataLf, b'\n') => Ok(Self::Start),
            (Self::DataCr | Self::DataLf, _) => Err(Violation::ChunkEnd),
            (Self::EndCr, b'\r') => Ok(Self::EndLf),
            (Self::EndLf, b'\n') => Ok(Self::Done),
            (Self::EndCr, _) => Err(Violation::Trailers),
            (Self::EndLf, _) => Err(Violation::ChunkEnd),
            // `read` takes data in bulk and stops at the end.
            (Self::Data(_) | Self::Done, _) => Ok(self),
        }
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> (ChunkReader, Progress) {
        let mut reader = ChunkReader::default();
        let progress = reader.read(body);
        (reader, progress)
    }

    #[test]
    fn every_odd_chunk_is_refused_at_its_first_odd_byte() {
        use Violation::*;
        for (body, taken, bad) in [
            (&b"\r\n"[..], 0, ChunkSize),
            (b" 5\r\n", 0, ChunkSize),
            (b"+5\r\n", 0, ChunkSize),
            (b"-1\r\n", 0, ChunkSize),
            (b"g\r\n", 0, ChunkSize),
            (b"\n", 0, ChunkSize),
            (b"0x5\r\n", 1, ChunkSizeLine),
            (b"05\r\n", 1, ChunkSize),
            (b"00\r\n\r\n", 1, ChunkSize),
            (b"123456789\r\n", 8, ChunkSize),
            (b"ffffffffffffffff1\r\n", 8, ChunkSize),
            (b"5 \r\n", 1, ChunkSizeLine),
            (b"5\t\r\n", 1, ChunkSizeLine),
            (b"5\nhello", 1, ChunkSizeLine),
            (b"5\r\rhello", 2, ChunkSizeLine),
            (b"5\0\r\n", 1, ChunkSizeLine),
            (b"5;a=b\r\n", 1, ChunkExtension),
            (b"5;\r\n", 1, ChunkExtension),
            (b"0;x\r\n\r\n", 1, ChunkExtension),
            (b"5\r\nhello!\r\n", 8, ChunkEnd),
            (b"5\r\nhello\n", 8, ChunkEnd),
            (b"5\r\nhello\r0", 9, ChunkEnd),
            (b"0\r\nX: y\r\n\r\n", 3, Trailers),
            (b"0\r\n\n", 3, Trailers),
            (b"0\r\n\rX", 4, ChunkEnd),
        ] {
            let (_, progress) = read(body);
            assert_eq!(
                progress,
                Progress {
                    taken,
                    bad: Some(bad)
                },
                "{}",
                body.escape_ascii()
            );
        }
    }

    #[test]
    fn a_plain_body_is_taken_to_its_last_byte_and_not_one_further() {
        let body = b"5\r\nhello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\nGET /";
        let (reader, progress) = read(body);
        assert!(reader.is_done());
        assert_eq!(
            progress,
            Progress {
                taken: body.len() - 5,
                bad: None
            }
        );
    }

    #[test]
    fn the_pieces_in_which_a_body_arrives_do_not_matter() {
        let body = b"5\r\nhello\r\nff\r\n";
        for cut in 0..body.len() {
            let mut reader = ChunkReader::default();
            assert_eq!(reader.read(&body[..cut]).taken, cut);
            assert_eq!(reader.read(&body[cut..]).taken, body.len() - cut);
            assert_eq!(reader, ChunkReader::Data(255));
        }
    }
}
