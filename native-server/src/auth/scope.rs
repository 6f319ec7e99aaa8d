//! What a credential allows, as a set of four rights.

use std::fmt::{self, Display, Formatter};

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To search and look.
    Read = 1,
    /// To change points and collections.
    Write = 2,
    /// To replicate.
    Sync = 4,
    /// To keep the server: all of it, for every tenant.
    Admin = 8,
}

impl Scope {
    pub(crate) const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Sync, Self::Admin];
}

impl Display for Scope {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Admin => "admin",
        })
    }
}

/// Rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

impl Scopes {
    /// Every right.
    pub(crate) const ALL: Self = Self(0b1111);

    /// Those of stored bits; nothing when there is none or one that nobody knows.
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        if bits == 0 || bits & !Self::ALL.0 != 0 { None } else { Some(Self(bits)) }
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Whether it is named itself.
    pub(crate) const fn names(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// Whether it is named, or the administrator's right that contains all others.
    pub(crate) const fn allow(self, scope: Scope) -> bool {
        self.names(scope) || self.names(Scope::Admin)
    }

    /// The rights one by one.
    pub(crate) fn each(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |&scope| self.names(scope))
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope as u8))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_set_allows_what_it_names_and_the_administrators_everything() {
        for bits in 1..16 {
            let scopes = Scopes::from_bits(bits).unwrap();
            assert_eq!(scopes.each().collect::<Scopes>(), scopes);
            for scope in Scope::ALL {
                let is_named = bits & scope as u8 != 0;
                assert_eq!((scopes.names(scope), scopes.allow(scope)), (is_named, is_named || bits >= 8), "{bits:04b}");
            }
        }
        for bits in [0, 16, 17, 255] {
            assert_eq!(Scopes::from_bits(bits), None, "{bits}");
        }
    }
}
