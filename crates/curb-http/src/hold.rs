//! The guard's own buffer: heads that are not whole yet, and bytes read beyond a body's end.

/// Size of the buffer when a connection is new or idle.
const SMALL_HOLD: usize = 2 * 1024;

/// Bytes read and not handed on yet, in `bytes[start..end]`.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    pub(crate) bytes: Vec<u8>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Hold {
    pub(crate) fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops `n` bytes from the front.
    pub(crate) fn advance(&mut self, n: usize) {
        self.start += n;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Makes room for at least one byte; doubles, so that a small head costs a small buffer.
    pub(crate) fn make_room(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            let len = (self.bytes.len() * 2).max(SMALL_HOLD);
            self.bytes.resize(len, 0);
        }
    }

    pub(crate) fn push(&mut self, more: &[u8]) {
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(more);
        self.end = self.bytes.len();
    }

    /// Gives memory back while nothing is held.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.bytes.len() > SMALL_HOLD {
            *self = Self::default();
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }
}
