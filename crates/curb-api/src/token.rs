//! How a token is made and hashed. Nothing else in Curb knows its form.
//!
//! `curb_` + id (8 characters of base32) + `_` + 43 characters of base64url: 32 random bytes. Only the SHA-256 of the
//! whole text is kept; with 256 random bits a plain hash is enough, there is nothing to guess.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// How many random bytes a token is made of: 5 for its id, 32 for its secret.
pub const RANDOM_BYTES: usize = 37;
/// What every token begins with, so that scanners for leaked secrets can find one.
pub const PREFIX: &str = "curb_";
/// Characters of a token's id.
pub const ID_CHARS: usize = 8;
const SECRET_CHARS: usize = 43;

/// A token that was just made. Its text is shown once.
#[derive(Clone, PartialEq, Eq)]
pub struct Made {
    /// The public id.
    pub id: String,
    /// The whole text, which is the secret.
    pub text: String,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Makes a token of random bytes, which must come from the operating system's generator.
#[must_use]
pub fn make(random: &[u8; RANDOM_BYTES]) -> Made {
    let (for_id, for_secret) = random.split_at(RANDOM_BYTES - 32);
    let id = base32(for_id);
    let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(for_secret));
    Made { id, text }
}

/// What is kept of a token: SHA-256 of its text, in hex.
#[must_use]
pub fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// The public id of a text that has a token's form; `None` for anything else.
#[must_use]
pub fn id_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(PREFIX)?;
    let (id, secret) = rest.split_at_checked(ID_CHARS)?;
    let secret = secret.strip_prefix('_')?;
    let good_id = id.bytes().all(|b| BASE32.contains(&b));
    let good_secret = secret.len() == SECRET_CHARS
        && secret
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    (good_id && good_secret).then_some(id)
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Lower-case base32 without padding; 5 bytes are 8 characters.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(char::from(BASE32[(bits >> held) as usize & 31]));
        }
        bits &= (1 << held) - 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_has_the_documented_form() {
        let made = make(&[7; RANDOM_BYTES]);
        assert_eq!(made.id, "a4dqobyh");
        assert_eq!(
            made.text,
            "curb_a4dqobyh_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"
        );
    }

    #[test]
    fn the_hash_is_that_of_the_whole_text() {
        assert_eq!(
            hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_made_token_is_never_shown_by_debug() {
        let made = make(&[7; RANDOM_BYTES]);
        assert!(!format!("{made:?}").contains("BwcH"));
    }

    #[test]
    fn what_is_not_a_token_has_no_id() {
        let good = make(&[9; RANDOM_BYTES]).text;
        for bad in [
            "",
            "curb_",
            "curb_é",
            &good[1..],
            &good[..good.len() - 1],
            &format!("{good}x"),
            &good.to_uppercase(),
        ] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_made_token_tells_its_id(random: [u8; 32], id: [u8; 5]) {
            let mut bytes = [0; RANDOM_BYTES];
            bytes[..5].copy_from_slice(&id);
            bytes[5..].copy_from_slice(&random);
            let made = make(&bytes);
            prop_assert_eq!(id_of(&made.text), Some(made.id.as_str()));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}") {
            let _ = id_of(&text);
        }
    }
}
