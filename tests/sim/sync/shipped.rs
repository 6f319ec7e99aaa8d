//! Segments that arrive in several pieces: what is kept of them when a tab dies, and what becomes of it.

use std::rc::Rc;

use hyperspace_core::collection::Collection;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::segment::UNIT;
use hyperspace_core::types::PointId;
use hyperspace_wasm::host::OpenCollection;
use hyperspace_wasm::kv::{FRAME_HEADER, Kv as _, Store};

use super::directed::{Tab, pair, run};
use super::lent::{live, vector};
use super::server::Server;

const POINTS: u64 = 120;
/// What is asked for at once.
const PIECE: usize = 16 * UNIT;

/// A document of about 60 000 bytes: few points make a segment of several pieces.
fn large(id: u64) -> Metadata {
    let text = format!("{id} ").repeat(60_000 / (id.ilog10() as usize + 2));
    Metadata::from_value(&Value::Map([("text".to_owned(), Value::Str(text))].into())).unwrap()
}

fn fill(server: &Server, ids: std::ops::Range<u64>) {
    ids.for_each(|id| server.upsert("notes", id, &vector(id, 1), large(id)));
    server.index();
}

/// Goes on with a session until it waits, or so many pieces came; answers where each piece began.
fn sync(tab: &Tab, server: &Server, collection: &Rc<OpenCollection>, most: usize) -> Vec<usize> {
    let mut pieces = Vec::new();
    while let Some((method, body)) = run(tab.database.sync_next(collection)).unwrap() {
        if method.starts_with('/') {
            if pieces.len() == most {
                break;
            }
            let range = std::str::from_utf8(&body).unwrap().strip_prefix("bytes=").unwrap();
            pieces.push(range.split_once('-').unwrap().0.parse().unwrap());
        }
        let answer = server.answer(&method, &body).unwrap();
        tab.database.sync_receive(collection, &method, &answer).unwrap();
    }
    pieces
}

/// The rows of segments and of chunks that are stored.
fn stored(tab: &Tab) -> (usize, usize) {
    let count = |store| run(tab.kv.keys(store, &[], &[u8::MAX; 9])).unwrap().len();
    (count(Store::Segs), count(Store::Chunks))
}

#[test]
fn a_tab_that_dies_between_two_pieces_goes_on_where_it_was() {
    let (platform, server, tab) = pair();
    let notes = tab.collection("notes");
    sync(&tab, &server, &notes, 0);
    fill(&server, 1..POINTS);
    notes.sync_restart();
    assert_eq!(sync(&tab, &server, &notes, 1), [0]);
    assert_eq!(stored(&tab), (1, PIECE >> 20), "the whole chunks of a piece");
    let tab = Tab::new(&platform, tab.kv.after_process_death());
    let notes = tab.collection("notes");
    assert_eq!(stored(&tab), (1, PIECE >> 20), "an opening leaves them alone");
    let pieces = sync(&tab, &server, &notes, usize::MAX);
    // A chunk is a little shorter than four units: the last one was not whole.
    assert_eq!(pieces[0], PIECE - UNIT, "{pieces:?}");
    assert_eq!(live(&notes.snapshot()), live(&server.collection("notes").unwrap().snapshot()));
    assert_eq!(notes.with_engine(Collection::graph_insertions), 0);
    // And it is there for good.
    let again = Tab::new(&platform, tab.kv.after_process_death()).collection("notes");
    assert_eq!(live(&again.snapshot()), live(&notes.snapshot()));
}

#[test]
fn what_came_of_a_segment_goes_when_the_server_has_another_one_in_its_place() {
    let (platform, server, tab) = pair();
    let notes = tab.collection("notes");
    sync(&tab, &server, &notes, 0);
    fill(&server, 1..POINTS);
    notes.sync_restart();
    sync(&tab, &server, &notes, 1);
    let tab = Tab::new(&platform, tab.kv.after_process_death());
    let notes = tab.collection("notes");
    // More than a quarter of it dies, so it is written anew.
    (1..POINTS / 2).for_each(|id| server.delete("notes", id));
    fill(&server, POINTS..POINTS + 1);
    let pieces = sync(&tab, &server, &notes, usize::MAX);
    assert!(pieces.first() == Some(&0), "{pieces:?}");
    assert_eq!(live(&notes.snapshot()), live(&server.collection("notes").unwrap().snapshot()));
    assert!(notes.snapshot().get(&PointId::Int(1)).is_none());
    let segments = notes.snapshot().segments().iter().map(|s| s.segment.byte_len()).collect::<Vec<_>>();
    let chunks = segments.iter().map(|bytes| bytes.div_ceil((1 << 20) - FRAME_HEADER)).sum();
    assert_eq!(stored(&tab), (segments.len(), chunks), "and nothing is left of the other one");
}
