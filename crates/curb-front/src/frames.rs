//! The frames of a websocket (RFC 6455), followed as they pass. Pure.
//!
//! Nothing is changed and nothing is kept: what is looked at is how long each message is, so that the bound on a body
//! holds for messages too, and whether both sides would read the same. Extensions are not negotiated ([`crate::tunnel`]),
//! so that a message is as long as it looks and no bit has a meaning that is not known here.

/// The longest head of a frame.
const LONGEST_HEAD: usize = 14;
/// The longest payload of a control frame.
const MOST_CONTROL: u64 = 125;

/// Why a side may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// It does not keep to the protocol.
    Protocol(&'static str),
    /// A message is longer than it may be.
    TooLarge,
}

impl Bad {
    /// The code of a close frame for it.
    pub(crate) fn code(self) -> u16 {
        match self {
            Bad::Protocol(_) => 1002,
            Bad::TooLarge => 1009,
        }
    }
}

/// What one side sends.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Clients mask what they send, and servers do not.
    masked: bool,
    most: u64,
    head: [u8; LONGEST_HEAD],
    have: usize,
    /// Of the frame whose head is over.
    left: u64,
    /// A message has begun and goes on in another frame.
    in_message: bool,
    message: u64,
    closed: bool,
}

impl Frames {
    /// Of a client, whose messages may have `most` bytes.
    pub(crate) fn of_client(most: u64) -> Self {
        Self::new(true, most)
    }

    /// Of a server.
    pub(crate) fn of_server() -> Self {
        Self::new(false, u64::MAX)
    }

    fn new(masked: bool, most: u64) -> Self {
        Self {
            masked,
            most,
            head: [0; LONGEST_HEAD],
            have: 0,
            left: 0,
            in_message: false,
            message: 0,
            closed: false,
        }
    }

    /// Whether a frame of another may follow here.
    pub(crate) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0 && !self.closed
    }

    /// Follows these bytes. Whether any of them belong to a message: pings alone keep nothing open.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<bool, Bad> {
        let mut of_message = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = self.left.min(bytes.len() as u64);
                self.left -= here;
                bytes = bytes.get(here as usize..).unwrap_or_default();
                continue;
            }
            if self.closed {
                return Err(Bad::Protocol("a frame after the last"));
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == self.head_length() {
                of_message |= self.begin()?;
            }
        }
        Ok(of_message)
    }

    /// As far as it is known yet.
    fn head_length(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    /// A head is whole. Whether it is one of a message.
    fn begin(&mut self) -> Result<bool, Bad> {
        let [first, second] = [self.head[0], self.head[1]];
        self.have = 0;
        if first & 0x70 != 0 {
            return Err(Bad::Protocol("a bit of an extension that was not agreed"));
        }
        if (second & 0x80 != 0) != self.masked {
            return Err(Bad::Protocol("a mask where none belongs, or none"));
        }
        self.left = self.payload(second & 0x7f)?;
        let last = first & 0x80 != 0;
        match first & 0x0f {
            opcode @ 0..=2 => {
                if (opcode == 0) != self.in_message {
                    return Err(Bad::Protocol(
                        "a message within a message, or a part of none",
                    ));
                }
                self.message = self.message.saturating_add(self.left);
                if self.message > self.most {
                    return Err(Bad::TooLarge);
                }
                self.in_message = !last;
                if last {
                    self.message = 0;
                }
                Ok(true)
            }
            opcode @ 8..=10 => {
                if !last || self.left > MOST_CONTROL {
                    return Err(Bad::Protocol("a control frame in parts, or too long"));
                }
                self.closed = opcode == 8;
                Ok(false)
            }
            _ => Err(Bad::Protocol("a frame of no known kind")),
        }
    }

    /// There is one way to write a length: the shortest.
    fn payload(&self, short: u8) -> Result<u64, Bad> {
        let long = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        let (length, least) = match short {
            126 => (long(&self.head[2..4]), 126),
            127 => (long(&self.head[2..10]), 1 << 16),
            short => (u64::from(short), 0),
        };
        match length >= least && length < 1 << 63 {
            true => Ok(length),
            false => Err(Bad::Protocol("a length that is not written as it must be")),
        }
    }
}

/// A close frame; of a client it is masked, with nothing.
pub(crate) fn close(code: u16, masked: bool) -> Vec<u8> {
    let mut frame = vec![0x88, if masked { 0x82 } else { 2 }];
    if masked {
        frame.extend([0; 4]);
    }
    frame.extend(code.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            n @ 0..126 => frame.push(0x80 | n as u8),
            n @ 126..65536 => {
                frame.push(0x80 | 126);
                frame.extend((n as u16).to_be_bytes());
            }
            n => {
                frame.push(0x80 | 127);
                frame.extend((n as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(payload);
        frame
    }

    fn read(bytes: &[u8], most: u64) -> Result<bool, Bad> {
        Frames::of_client(most).read(bytes)
    }

    #[test]
    fn a_message_may_have_all_that_it_may_and_not_a_byte_more_also_in_parts() {
        for length in [0, 1, 125, 126, 65535, 65536, 70_000] {
            let payload = vec![7; length];
            let most = length as u64;
            assert_eq!(read(&masked(0x82, &payload), most), Ok(true), "{length}");
            if length > 0 {
                assert_eq!(read(&masked(0x82, &payload), most - 1), Err(Bad::TooLarge));
            }
        }
        let parts = [
            masked(0x01, &[7; 60]),
            masked(0x89, &[7; 9]),
            masked(0x80, &[7; 41]),
        ]
        .concat();
        assert_eq!(read(&parts, 101), Ok(true));
        assert_eq!(read(&parts, 100), Err(Bad::TooLarge));
        // Each message has a bound of its own.
        let two = [masked(0x81, &[7; 60]), masked(0x82, &[7; 60])].concat();
        assert_eq!(read(&two, 60), Ok(true));
        // It is refused when it is announced, not when it has come.
        let announced = [0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(read(&announced, 1 << 20), Err(Bad::TooLarge));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let unmasked = [0x81, 1, 7];
        for (bytes, what) in [
            (masked(0xc1, &[7]), "an extension"),
            (unmasked.to_vec(), "no mask"),
            (masked(0x83, &[7]), "an unknown kind"),
            (masked(0x8b, &[7]), "an unknown control"),
            (masked(0x80, &[7]), "a part of nothing"),
            (
                [masked(0x01, &[7]), masked(0x81, &[7])].concat(),
                "a message within one",
            ),
            (masked(0x09, &[7]), "a ping in parts"),
            (masked(0x89, &[7; 126]), "a long ping"),
            (
                vec![0x81, 0xfe, 0, 5, 0, 0, 0, 0],
                "a short length written long",
            ),
            (
                vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
                "the same, longer",
            ),
            (
                vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                "the highest bit",
            ),
            (
                [masked(0x88, &[]), masked(0x81, &[7])].concat(),
                "more after the last",
            ),
            (
                b"GET /admin HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
                "another request",
            ),
        ] {
            assert!(
                matches!(read(&bytes, 1 << 20), Err(Bad::Protocol(_))),
                "{what}"
            );
        }
        assert_eq!(Frames::of_server().read(&unmasked), Ok(true));
        assert!(Frames::of_server().read(&masked(0x81, &[7])).is_err());
    }

    #[test]
    fn pings_are_no_message_and_our_own_close_frames_are_right() {
        assert_eq!(read(&masked(0x89, b"here"), 0), Ok(false));
        assert_eq!(read(&close(1001, true), 0), Ok(false));
        assert_eq!(Frames::of_server().read(&close(1009, false)), Ok(false));
        let mut frames = Frames::of_client(9);
        assert!(frames.is_between());
        assert_eq!(frames.read(&masked(0x81, b"abc")[..5]), Ok(false));
        assert!(!frames.is_between());
    }

    proptest! {
        /// Where the pieces are cut changes nothing.
        #[test]
        fn pieces_are_read_as_the_whole_is(
            bytes in prop::collection::vec(prop_oneof![Just(0x81_u8), Just(0x82), Just(0x01), Just(0x80), any::<u8>()], 0..200),
            cuts in prop::collection::vec(1_usize..20, 1..50),
        ) {
            let whole = read(&bytes, 50);
            let mut frames = Frames::of_client(50);
            let (mut any, mut rest, mut cuts) = (Ok(false), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let cut = (*cuts.next().expect("without end")).min(rest.len());
                match frames.read(&rest[..cut]) {
                    Ok(more) => any = any.map(|before| before | more),
                    Err(bad) => {
                        any = Err(bad);
                        break;
                    }
                }
                rest = &rest[cut..];
            }
            prop_assert_eq!(any, whole);
        }
    }
}
