//! What is written before anything else: stamps and the record codec.
//!
//! A record is one atomic batch of writes to one collection. Hosts make its bytes durable and hand them back at the
//! next start; they never look inside.

pub(crate) mod frame;
pub(crate) mod rec;
mod record;
mod stamper;

pub use rec::{Body, BodyParts, Rec, body};
pub use record::{
    Entry, Layout, MAX_RECORD_BYTES, NewEntry, Record, RecordBody, RequestId, WriteBatch, encode_writes, longest_record,
};
pub(crate) use record::{KIND_WRITES, RecordWriter, encode_change, longest_entry};
pub use stamper::{MAX_CLOCK_LEAD_MS, Stamper};
