//! Mistakes that tests make on purpose, to see that they would notice: each leaves a step out that makes something durable,
//! or takes it too early.
//!
//! Without the feature `mutations`, which only the tests turn on, [`is`] is the constant `false` and nothing of this is in
//! the program.

macro_rules! mutations {
    ($($(#[doc = $kind:literal])+ $list:ident { $($(#[doc = $what:literal])+ $name:ident,)+ })+) => {
        /// A mistake in the order in which things become durable, or in what is believed after a crash.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $($($(#[doc = $what])+ $name,)+)+
        }

        $($(#[doc = $kind])+
        #[cfg(feature = "mutations")]
        pub const $list: &[Mutation] = &[$(Mutation::$name),+];)+
    };
}

mutations! {
    /// Those that a server makes alone.
    ALONE {
        /// The log is not synced before a strict write is answered.
        NoLogSync,
        /// The answer comes before the sync.
        AnswerBeforeSync,
        /// A sync that failed is tried again.
        RetryFailedSync,
        /// A log file is ended without a sync.
        NoSyncAtRotation,
        /// What was appended in vain is taken back in memory only.
        NoSyncOfTakenBack,
        /// A new log file's header is not synced.
        NoHeaderSync,
        /// The directory is not synced when a log file is begun.
        NoLogDirectorySync,
        /// Log files are removed at once instead of one after the other.
        RemoveLogAtOnce,
        /// A file takes its name before its bytes are durable.
        NoFileSync,
        /// A directory is not synced after a file was put in the place of another.
        NoDirectorySync,
        /// A manifest is stored before the segment that it names.
        ManifestBeforeSegment,
        /// A manifest is stored while the log that it rests on is not durable.
        ManifestBeforeLog,
        /// Segments go before the manifest that does not name them is stored.
        SegmentsGoBeforeManifest,
        /// Log files go before the manifest that covers them is stored.
        LogGoesBeforeManifest,
        /// Frames are taken from the log whatever their checksums say.
        BelieveEveryFrame,
        /// The log is cut off at the first frame that cannot be read, even when it was durable.
        CutAtAnyDamage,
        /// The last log file is gone on with as it was read, though it may be in memory only.
        KeepLastLogFile,
        /// Leftovers are removed before what is there instead is durable.
        SweepBeforeSync,
    }
    /// Those that only others notice.
    AMONG_OTHERS {
        /// A follower's cursor is stored before the rows that it covers.
        CursorBeforeRows,
        /// A follower says that it has what is not durable there.
        AcknowledgeBeforeDurable,
        /// Deletes are forgotten that not every follower has.
        ForgetUnacknowledged,
        /// A promoted server leads before its standing says so.
        LeadBeforeStanding,
        /// A leader follows another one before its standing says so.
        FollowBeforeStanding,
    }
}

/// Whether this mistake is to be made.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn is(_: Mutation) -> bool {
    false
}

/// Does a step, unless leaving it out is the mistake to be made.
pub(crate) fn unless<E>(mutation: Mutation, step: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    if is(mutation) { Ok(()) } else { step() }
}

#[cfg(feature = "mutations")]
pub use switch::with;

#[cfg(feature = "mutations")]
pub(crate) use switch::is;

#[cfg(feature = "mutations")]
mod switch {
    use std::cell::Cell;

    use super::Mutation;

    thread_local! {
        static CHOSEN: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    pub(crate) fn is(mutation: Mutation) -> bool {
        CHOSEN.get() == Some(mutation)
    }

    /// Makes a mistake in everything that this thread does meanwhile.
    pub fn with<T>(mutation: Mutation, work: impl FnOnce() -> T) -> T {
        let before = CHOSEN.replace(Some(mutation));
        let outcome = work();
        CHOSEN.set(before);
        outcome
    }
}
