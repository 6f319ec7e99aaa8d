//! The tab writes and reads the messages of replication by hand; the server's are generated from the same description. Both
//! have to write the same bytes, read each other's, and refuse the same ones.

use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::metric::Metric;
use hyperspace_core::quant::Quantization;
use hyperspace_core::sync::{
    Answer, Ask, Chain, Cursor, Digest, Floor, Hello, Offer, Page, Pushed, SpaceKey, Verdict, Welcome, encode_all,
};
use hyperspace_core::types::{IdKey, PointId, Stamp};
use hyperspace_server::proto::{
    Collection, CollectionConfig as ProtoConfig, FetchRequest, FetchResponse, GetManifestRequest, GetManifestResponse,
    HelloRequest, HelloResponse, ListCollectionsResponse, PullRequest, PullResponse, PushRequest, PushResponse,
    ReconcileRequest, ReconcileResponse, Wanted,
};
use hyperspace_server::service::fuzzing::config_to;
use hyperspace_wasm::host::fuzzing::{
    sync_answer, sync_ask_manifest, sync_greeting, sync_listed, sync_manifest, sync_met, sync_page, sync_pull,
    sync_question,
};
use prost::Message;

use crate::support::Random;

const ROUNDS: u64 = 2_000;

/// Numbers of all lengths, the least and the greatest often.
fn number(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => [0, 1, 127, 128, u64::from(u32::MAX), u64::MAX][random.below(6)],
        _ => random.next() >> random.below(64),
    }
}

fn small(random: &mut Random) -> u32 {
    number(random) as u32
}

fn bytes(random: &mut Random, most: usize) -> Vec<u8> {
    (0..random.below(most + 1)).map(|_| random.next() as u8).collect()
}

fn array<const N: usize>(random: &mut Random) -> [u8; N] {
    std::array::from_fn(|_| random.next() as u8)
}

fn cursor(random: &mut Random) -> Cursor {
    Cursor { epoch: small(random), seq: number(random) }
}

fn chain(random: &mut Random) -> Chain {
    Chain { cseq: number(random), hash: array(random) }
}

fn hello(random: &mut Random) -> Hello {
    Hello {
        writer: number(random),
        next_cseq: number(random),
        acked: chain(random),
        cursor: cursor(random),
        is_resyncing: random.below(2) == 0,
    }
}

fn offer(random: &mut Random) -> Offer {
    Offer {
        cseq: random.next() >> 3,
        id: PointId::Int(number(random)),
        stamp: Stamp { hlc: number(random), writer: number(random), cseq: random.next() >> 3 },
        is_change: random.below(2) == 0,
        reoffered_above: None,
        body: (random.below(2) == 0).then(|| bytes(random, 40).into()),
    }
}

fn config(random: &mut Random) -> CollectionConfig {
    let metric = [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare][random.below(4)];
    let mut some = |most: usize| (random.below(2) == 0).then(|| 2 + random.below(most - 1) as u32);
    let (m, ef_construction, ef_search) = (some(64), some(4_096), some(4_096));
    let name: String = (0..=random.below(20)).map(|at| char::from(b'a' + at as u8)).collect();
    CollectionConfig {
        quantization: [Quantization::None, Quantization::ScalarI8][random.below(2)],
        m,
        ef_construction,
        ef_search,
        ..CollectionConfig::new(&name, 1 + random.below(4_096), metric).unwrap()
    }
}

#[test]
fn requests_have_the_bytes_that_the_servers_own_types_have() {
    for seed in 0..ROUNDS {
        let mut random = Random::new(seed);
        let (space, epoch, writer) = (number(&mut random), small(&mut random), number(&mut random));
        let asked = |ask| sync_question(ask, space, epoch, writer);

        let keys: Vec<IdKey> = (0..random.below(4)).map(|_| IdKey(array(&mut random))).collect();
        let wanted = FetchRequest { space, epoch, keys: keys.iter().flat_map(|key| key.0).collect() };
        assert_eq!(asked(Ask::Fetch(keys)), ("Fetch".into(), wanted.encode_to_vec()), "seed {seed}");

        let offers: Vec<Offer> = (0..random.below(4)).map(|_| offer(&mut random)).collect();
        let wanted = PushRequest { space, epoch, writer, offers: encode_all(&offers) };
        assert_eq!(asked(Ask::Push(offers)), ("Push".into(), wanted.encode_to_vec()), "seed {seed}");

        let (seq, frame) = (number(&mut random), bytes(&mut random, 300));
        let wanted = ReconcileRequest { space, epoch, seq, frame: frame.clone() };
        assert_eq!(asked(Ask::Reconcile(seq, frame)), ("Reconcile".into(), wanted.encode_to_vec()), "seed {seed}");

        let at = cursor(&mut random);
        let one = Wanted { space, epoch: at.epoch, after: at.seq };
        let wanted = PullRequest { spaces: vec![one], ..PullRequest::default() };
        assert_eq!(asked(Ask::Pull(at)), ("Pull".into(), wanted.encode_to_vec()), "seed {seed}");

        let wanted = GetManifestRequest { space, epoch, after: seq };
        let asked_manifest = sync_ask_manifest(seq, space, epoch);
        assert_eq!(asked_manifest, ("GetManifest".into(), wanted.encode_to_vec()), "seed {seed}");

        let many: Vec<(u64, Cursor)> =
            (0..random.below(5)).map(|_| (number(&mut random), cursor(&mut random))).collect();
        let spaces = many.iter().map(|(space, at)| Wanted { space: *space, epoch: at.epoch, after: at.seq }).collect();
        let wanted = PullRequest { spaces, follow: true, ..PullRequest::default() };
        assert_eq!(sync_pull(&many, true), wanted.encode_to_vec(), "seed {seed}");

        let (hello, config) = (hello(&mut random), (random.below(2) == 0).then(|| config(&mut random)));
        let wanted = HelloRequest {
            collection: "notes".into(),
            config: config.as_ref().map(config_to),
            hello: encode_all(&hello),
        };
        assert_eq!(
            sync_greeting("notes", config.as_ref(), &hello),
            ("Hello".into(), wanted.encode_to_vec()),
            "seed {seed}"
        );
    }
}

/// An answer of each kind, and what it is to be read as.
fn answers(random: &mut Random) -> Vec<(&'static str, Vec<u8>, Answer)> {
    let floor = Floor { seq: number(random), hlc: number(random) };
    let welcome = Welcome {
        head: cursor(random),
        floor,
        terms: (0..random.below(3)).map(|_| cursor(random)).collect(),
        acked: chain(random),
        is_forked: random.below(2) == 0,
        rewind: (random.below(2) == 0).then(|| number(random)),
        must_resync: random.below(2) == 0,
    };
    let page = Page {
        cursor: cursor(random),
        floor,
        recs: Vec::new(),
        answered: Vec::new(),
        up_to_date: Some(Digest { count: number(random), sum: u128::from(number(random)) }),
    };
    let verdicts = [Verdict::Accepted(number(random)), Verdict::StaleDeleted, Verdict::Restamp];
    let pushed = Pushed {
        acked: chain(random),
        seq: number(random),
        hlc: number(random),
        now_ms: number(random),
        verdicts: verdicts.into_iter().map(|verdict| (number(random), verdict)).collect(),
    };
    let (space, head, answered, frame) = (number(random), number(random), small(random), bytes(random, 200));
    let (key, server_time_ms) = (array::<32>(random).to_vec(), number(random));
    let hello =
        HelloResponse { space, key, welcome: encode_all(&welcome), server_time_ms, ships: random.below(2) == 0 };
    let fetched = FetchResponse { recs: encode_all(&Vec::<hyperspace_core::log::Rec>::new()), answered, head };
    vec![
        ("Hello", hello.encode_to_vec(), Answer::Welcome(welcome)),
        ("Pull", PullResponse { space, page: encode_all(&page) }.encode_to_vec(), Answer::Page(page)),
        ("Push", PushResponse { pushed: encode_all(&pushed) }.encode_to_vec(), Answer::Pushed(pushed)),
        ("Fetch", fetched.encode_to_vec(), Answer::Fetched(Vec::new(), answered as usize, head)),
        ("Reconcile", ReconcileResponse { frame: frame.clone() }.encode_to_vec(), Answer::Reconciled(frame)),
    ]
}

#[test]
fn answers_of_the_server_are_read_and_unknown_fields_passed_over() {
    for seed in 0..ROUNDS {
        let mut random = Random::new(seed);
        for (method, mut body, answer) in answers(&mut random) {
            assert_eq!(sync_answer(method, &body), Ok(answer.clone()), "seed {seed}, {method}");
            // A later server's: number 20, with a number, four bytes, eight bytes, some bytes.
            for field in [
                &[0xa0, 1, 0x80, 1][..],
                &[0xa5, 1, 1, 2, 3, 4],
                &[0xa1, 1, 1, 2, 3, 4, 5, 6, 7, 8],
                &[0xa2, 1, 2, 9, 9],
            ] {
                body.splice(0..0, field.iter().copied());
            }
            assert_eq!(sync_answer(method, &body), Ok(answer), "seed {seed}, {method}");
        }
        let (space, key) = (number(&mut random), array::<32>(&mut random));
        let welcome = answers(&mut random).swap_remove(0).1;
        let told = HelloResponse { space, key: key.to_vec(), ..HelloResponse::decode(&*welcome).unwrap() };
        assert_eq!(sync_met(&told.encode_to_vec()), Ok((space, SpaceKey(key), told.ships)), "seed {seed}");
        let (manifest, units) = (bytes(&mut random, 90), bytes(&mut random, 90));
        let (seq, floor_seq, floor_hlc) = (number(&mut random), number(&mut random), number(&mut random));
        let told = GetManifestResponse { manifest, units, seq, floor_seq, floor_hlc };
        let floor = Floor { seq: floor_seq, hlc: floor_hlc };
        assert_eq!(sync_manifest(&told.encode_to_vec()), Ok((told.manifest, told.units, seq, floor)), "seed {seed}");
        let page = PullResponse { space, page: bytes(&mut random, 50) };
        assert_eq!(sync_page(&page.encode_to_vec()), Ok((page.space, page.page)), "seed {seed}");
    }
}

#[test]
fn lists_of_collections_are_read_but_for_what_this_build_does_not_know() {
    for seed in 0..ROUNDS {
        let mut random = Random::new(seed);
        let configs: Vec<CollectionConfig> = (0..random.below(5)).map(|_| config(&mut random)).collect();
        let collection = |config: ProtoConfig| Collection { config: Some(config), points: 7, ..Collection::default() };
        let mut collections: Vec<Collection> = configs.iter().map(|config| collection(config_to(config))).collect();
        let known = config_to(&config(&mut random));
        let later = [
            ProtoConfig { metric: 5, ..known.clone() },
            ProtoConfig { metric: 0, ..known.clone() },
            ProtoConfig { quantization: 2, ..known },
        ];
        for config in later {
            collections.insert(random.below(collections.len() + 1), collection(config));
        }
        let body = ListCollectionsResponse { collections }.encode_to_vec();
        assert_eq!(sync_listed(&body), Ok(configs), "seed {seed}");
    }
}

#[test]
fn a_message_that_was_cut_is_refused_where_the_servers_types_refuse_it_and_no_bytes_do_harm() {
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..200 {
        let mut random = Random::new(seed);
        for (method, body, _) in answers(&mut random) {
            for cut in 0..body.len() {
                let cut = &body[..cut];
                let theirs = match method {
                    "Hello" => HelloResponse::decode(cut).is_ok(),
                    "Pull" => PullResponse::decode(cut).is_ok(),
                    "Push" => PushResponse::decode(cut).is_ok(),
                    "Fetch" => FetchResponse::decode(cut).is_ok(),
                    _ => ReconcileResponse::decode(cut).is_ok(),
                };
                // What is inside may be refused although the message is none that is.
                assert!(theirs || sync_answer(method, cut).is_err(), "seed {seed}, {method}: {cut:?}");
                refused += u32::from(!theirs);
            }
            for at in 0..body.len() {
                let mut changed = body.clone();
                changed[at] ^= 1 << random.below(8);
                taken += u32::from(sync_answer(method, &changed).is_ok());
            }
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(refused > 10_000 && taken > 100, "nothing of interest happened");
}
