//! Flipped bits in stored rows: what is read is right, or refused with an error that says what is damaged. Nothing is cut
//! away: with the bit flipped back everything is there.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use hyperspace_core::error::ErrorKind;
use hyperspace_wasm::kv::{SimulatedKv, Store};

use super::model::State;
use super::world::{Plan, World, open, read};
use crate::random::{Random, effort};

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

/// What a database shows: each collection, or why not.
type Contents = Vec<(String, Result<State, ErrorKind>)>;

fn contents(kv: &SimulatedKv, world: &World) -> Result<Contents, ErrorKind> {
    let database = run(open(kv.clone(), world.environment())).map_err(|error| error.kind())?;
    let read_one = |name: String| {
        let state = run(database.collection(&name)).map_err(|error| error.kind());
        (name, state.map(|collection| read(&collection).expect("what is shown agrees with itself")))
    };
    Ok(database.names().into_iter().map(read_one).collect())
}

#[test]
fn a_flipped_bit_in_a_stored_row_is_noticed_and_takes_nothing_else_with_it() {
    let wanted = effort(6_000, 200_000, 1_000_000);
    let (mut flips, mut refused, mut unharmed) = (0, 0, 0);
    for seed in 0.. {
        let world = World::new(seed, Plan::CALM);
        let (kv, environment) = (world.kv.clone(), World::new(seed, Plan::CALM));
        world.live_through().unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
        let whole = contents(&kv.after_process_death(), &environment).unwrap();
        let mut random = Random::new(seed);
        for _ in 0..wanted / 40 {
            let store = Store::ALL[random.below(Store::ALL.len())];
            let rows = kv.rows_in(store);
            if rows == 0 {
                continue;
            }
            let damaged = kv.after_process_death();
            let (nth, place) = (random.below(rows), random.next() as usize);
            let flip = |value: &mut Vec<u8>| {
                let bit = place % (value.len() * 8);
                value[bit / 8] ^= 1 << (bit % 8);
            };
            assert!(damaged.tamper_nth(store, nth, flip));
            let what = format!("seed {seed}, row {nth} of {}, place {place}", store.name());
            match contents(&damaged, &environment) {
                Ok(found) => {
                    for (name, state) in &found {
                        let (_, expected) =
                            whole.iter().find(|(other, _)| other == name).expect("a name that was given");
                        match state {
                            Ok(_) => assert_eq!(state, expected, "{what}: {name}"),
                            Err(ErrorKind::Corrupted | ErrorKind::Unsupported) => {}
                            Err(kind) => panic!("{what}: {name} is refused with {kind:?}"),
                        }
                    }
                    let readable = found.iter().filter(|(_, state)| state.is_ok()).count();
                    assert!(readable + 1 >= whole.len(), "{what}: {readable} of {} can be read", whole.len());
                    refused += usize::from(readable < whole.len());
                    unharmed += usize::from(readable == whole.len());
                }
                Err(ErrorKind::Corrupted | ErrorKind::Unsupported) if store == Store::Meta => refused += 1,
                Err(kind) => panic!("{what}: the database is refused with {kind:?}"),
            }
            // An owner's row that was damaged has not been written, any other has not moved.
            if store != Store::Meta {
                assert!(damaged.tamper_nth(store, nth, flip));
                assert_eq!(contents(&damaged, &environment).unwrap(), whole, "{what}: mended");
            }
            flips += 1;
        }
        if flips >= wanted {
            break;
        }
    }
    println!("flipped bits in stored rows: {flips}, {refused} refused, {unharmed} where nothing reads them");
    assert!(flips >= wanted && refused > 0);
}
