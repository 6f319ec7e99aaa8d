//! Mistakes that tests make on purpose, to see that they are noticed. Without the feature `mutations`, which only the
//! tests' crate turns on, none is ever made and nothing of this is compiled in.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The rows of a commit are put in two transactions.
    PutOutsideTransaction,
    /// A write is published and answered before its transaction is complete.
    ResolveBeforeComplete,
    /// The log is cut in a transaction before the one that flips the manifest.
    CutLogBeforeFlip,
    /// Transactions do not look whether another engine has taken over.
    IgnoreFence,
    /// As `IgnoreFence`, and log rows are put where they must be added: the second lock behind the first.
    PutForAdd,
    /// After a failure nobody looks at what the store holds.
    SkipSettling,
    /// A log is continued without a look at where it is.
    SkipContinuity,
    /// A cursor is stored before the rows that it covers.
    CursorBeforeRows,
}

#[cfg(feature = "mutations")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Makes a mistake from now on, in this thread; or none.
#[cfg(feature = "mutations")]
pub fn activate(mutation: Option<Mutation>) {
    ACTIVE.set(mutation);
}

/// Whether this mistake is to be made.
#[cfg(feature = "mutations")]
pub(crate) fn is_active(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}

/// Whether this mistake is to be made: it is not.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn is_active(_: Mutation) -> bool {
    false
}
