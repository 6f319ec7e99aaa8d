//! The one error type: a kind that says what a caller can do, and a message that names the thing and the values.
//!
//! A kind maps to one gRPC status, one HTTP status, one JavaScript code and one Python class, in every host alike.

use alloc::string::String;
use core::fmt;

/// What went wrong, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request can never succeed as it is: mend it.
    InvalidArgument,
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists and is not what was asked for.
    AlreadyExists,
    /// No valid credential came with the request.
    Unauthenticated,
    /// The credential does not allow this.
    PermissionDenied,
    /// Somebody else changed the same thing: read again and decide.
    Conflict,
    /// A stated limit, a quota or the disk is exceeded; the message names it.
    LimitExceeded,
    /// It may work later: retry.
    Unavailable,
    /// Stored bytes fail their checks.
    Corrupted,
    /// This build or version cannot do it.
    Unsupported,
    /// The handle was closed.
    Closed,
    /// A bug of ours.
    Internal,
}

impl ErrorKind {
    /// The stable name used by the JavaScript API and in logs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Conflict => "conflict",
            Self::LimitExceeded => "limit_exceeded",
            Self::Unavailable => "unavailable",
            Self::Corrupted => "corrupted",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
            Self::Internal => "internal",
        }
    }
}

/// An error with its kind and a message meant for a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// A result whose error is [`Error`].
pub type Result<T> = core::result::Result<T, Error>;

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("Creates an error of kind [`ErrorKind::", stringify!($kind), "`].")]
                pub fn $name(message: impl Into<String>) -> Self {
                    Self::new(ErrorKind::$kind, message)
                }
            )*
        }
    };
}

constructors! {
    invalid_argument => InvalidArgument,
    not_found => NotFound,
    already_exists => AlreadyExists,
    conflict => Conflict,
    limit_exceeded => LimitExceeded,
    unavailable => Unavailable,
    corrupted => Corrupted,
    unsupported => Unsupported,
    closed => Closed,
    internal => Internal,
}

impl Error {
    /// Creates an error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What the caller can do about it.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text for a person, without the kind.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the same call may succeed later without any change.
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable)
    }
}

/// The first 64 characters of a text from outside, so that a message that quotes it stays a message.
pub fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(64).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or_default()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.message)
    }
}

/// As it is displayed: an `expect` that fails is read by a person too.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Error {}

/// A number in a message, with nine digits: formatting one exactly takes 20 KB of code in a tab.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub f64);

impl fmt::Display for Shown {
    #[expect(clippy::cast_sign_loss, reason = "a magnitude")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: i32 = 9;
        let mut magnitude = self.0.abs();
        let sign = if self.0 < 0.0 { "-" } else { "" };
        if !magnitude.is_finite() {
            return f.write_str(if self.0.is_nan() {
                "NaN"
            } else if sign.is_empty() {
                "inf"
            } else {
                "-inf"
            });
        }
        if magnitude == 0.0 {
            return f.write_str("0");
        }
        let mut exponent = 0;
        while magnitude >= 10.0 {
            (magnitude, exponent) = (magnitude / 10.0, exponent + 1);
        }
        while magnitude < 1.0 {
            (magnitude, exponent) = (magnitude * 10.0, exponent - 1);
        }
        let mut digits = libm::round(magnitude * 1e8) as u64;
        if digits >= 1_000_000_000 {
            (digits, exponent) = (digits / 10, exponent + 1);
        }
        let mut left = DIGITS;
        while digits.is_multiple_of(10) && left > 1 {
            (digits, left) = (digits / 10, left - 1);
        }
        let point = if (-5..DIGITS).contains(&exponent) { exponent } else { 0 };
        let behind = left - 1 - point;
        write!(f, "{sign}")?;
        if behind <= 0 {
            write!(f, "{}", digits * 10_u64.pow(behind.unsigned_abs()))?;
        } else {
            let behind = behind.unsigned_abs();
            let unit = 10_u64.pow(behind);
            write!(f, "{}.{:0width$}", digits / unit, digits % unit, width = behind as usize)?;
        }
        if point == exponent { Ok(()) } else { write!(f, "e{exponent}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_number_is_shown_with_nine_digits_and_none_too_many() {
        let shown = [
            (0.0, "0"),
            (-0.5, "-0.5"),
            (1.0, "1"),
            (10.0, "10"),
            (-123_456_789.0, "-123456789"),
            (1.000_000_01, "1.00000001"),
            (0.000_012_5, "0.0000125"),
            (0.1, "0.1"),
            (2.0 / 3.0, "0.666666667"),
            (999_999_999.9, "1e9"),
            (1.5e300, "1.5e300"),
            (f64::MAX, "1.79769313e308"),
            (f64::MIN_POSITIVE, "2.22507386e-308"),
            (5e-324, "4.94065646e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (number, expected) in shown {
            assert_eq!(format!("{}", Shown(number)), expected, "{number:e}");
        }
    }

    #[test]
    fn what_is_shown_is_near_what_is_meant() {
        let mut bits = 1_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = f64::from_bits(bits);
            if number.is_normal() {
                let read: f64 = format!("{}", Shown(number)).parse().unwrap();
                assert!((read / number - 1.0).abs() < 1e-8, "{number:e} is shown as {}", Shown(number));
            }
        }
    }
}
