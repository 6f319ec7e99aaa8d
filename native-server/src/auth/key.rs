//! An API key: a number that names it, and 256 random bits that nobody can guess.
//!
//! `hs_<16 hexadecimal digits>_<43 characters of base64url>`, in this form only. The bits are shown once, to whoever made
//! the key; what is kept is their hash. With as much entropy a plain hash is enough, and it is compared in constant time.

use std::fmt::{self, Display, Formatter};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What every key begins with.
const PREFIX: &str = "hs_";
/// Digits of the number.
const DIGITS: usize = 16;

/// The number of a key. No secret: it is listed and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyId(pub(crate) u64);

impl KeyId {
    /// Reads a number as it is shown.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_ours = text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_ours.then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl Display for KeyId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The random bits of a key. Never stored, shown once, without `Debug`.
pub(crate) struct Secret(pub(crate) [u8; 32]);

/// What is kept of a [`Secret`]. Two of them are compared in constant time: `blake3` promises it.
pub(crate) type Fingerprint = blake3::Hash;

impl Secret {
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        blake3::hash(&self.0)
    }
}

/// A key as its owner gets it.
pub(crate) fn show(id: KeyId, secret: &Secret) -> String {
    format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret.0))
}

/// Reads a key; nothing when it has not exactly the form of one.
pub(crate) fn parse(text: &str) -> Option<(KeyId, Secret)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_at_checked(DIGITS)?;
    let secret = URL_SAFE_NO_PAD.decode(secret.strip_prefix('_')?).ok()?;
    Some((KeyId::parse(id)?, Secret(secret.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_key_reads_back_and_no_other_text_is_that_key() {
        let secret = Secret(std::array::from_fn(|i| (i * 37 + 5) as u8));
        let shown = show(KeyId(0xab), &secret);
        assert!(shown.starts_with("hs_00000000000000ab_") && shown.len() == 63, "{shown}");
        let (id, read) = parse(&shown).unwrap();
        assert_eq!((id, read.0), (KeyId(0xab), secret.0));

        // Whatever one character is changed to, it is no key or another one.
        let characters = (b'0'..=b'z').map(char::from).chain([' ', '-', '=', '+', '/']);
        for character in characters {
            for at in 0..shown.len() {
                let mut other: Vec<char> = shown.chars().collect();
                other[at] = character;
                let other: String = other.into_iter().collect();
                if other != shown
                    && let Some((id, read)) = parse(&other)
                {
                    assert!(id != KeyId(0xab) || read.0 != secret.0, "{other} is read as {shown}");
                }
            }
        }
        for cut in 0..shown.len() {
            assert!(parse(&shown[..cut]).is_none() && parse(&shown[cut + 1..]).is_none(), "cut at {cut}");
        }
        for odd in
            [format!("{shown}="), format!("{shown} "), shown.to_uppercase(), format!("{shown}A"), "\u{e4}".repeat(40)]
        {
            assert!(parse(&odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(KeyId::parse("00000000000000ff"), Some(KeyId(255)));
        for other in ["", "ff", "00000000000000FF", "+0000000000000ff", "000000000000000ff", "0x000000000000ff"] {
            assert_eq!(KeyId::parse(other), None, "{other}");
        }
    }
}
