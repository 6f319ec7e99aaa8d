//! Keys and tokens from their making to their end, on a disk that may fail and under a clock that a test moves.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyperspace_core::error::{ErrorKind, Result};
use hyperspace_core::port::Clock;
use hyperspace_core::types::CollectionName;
use tempfile::TempDir;

use super::verify::Claims;
use super::{Caller, KeyId, Keyring, NewKey, NewToken, Scope, Scopes};
use crate::database::{DatabaseOptions, Environment, Keeper};
use crate::disk::{Disk, LocalDisk};

const ADMIN_KEY: &str = "an administrator's key of enough characters";
const MINUTE: u64 = 60_000;

/// The time that a test says it is.
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A keyring over a database of its own.
struct World {
    keyring: Keyring,
    keeper: Arc<Keeper>,
    hand: Arc<Hand>,
    folder: TempDir,
}

impl World {
    fn new(administrator: Option<&str>) -> Self {
        Self::on(tempfile::tempdir().unwrap(), administrator).unwrap()
    }

    fn on(folder: TempDir, administrator: Option<&str>) -> Result<Self> {
        let (disk, _lock) = LocalDisk::open(folder.path()).unwrap();
        let hand = Arc::new(Hand(AtomicU64::new(1_000_000)));
        let lent = Environment::from(Arc::new(disk) as Arc<dyn Disk>);
        let lent = Environment { clock: Arc::clone(&hand) as Arc<dyn Clock + Send + Sync>, ..lent };
        let keeper = Arc::new(Keeper::open_on(lent, DatabaseOptions::default()).unwrap());
        let keyring = Keyring::open(Arc::clone(&keeper), administrator)?;
        Ok(Self { keyring, keeper, hand, folder })
    }

    /// Starts it again on the same folder.
    fn again(self, administrator: Option<&str>) -> Result<Self> {
        self.keeper.close().unwrap();
        Self::on(self.folder, administrator)
    }

    fn later(&self, milliseconds: u64) {
        self.hand.0.fetch_add(milliseconds, Ordering::Relaxed);
    }

    fn with(&self, credential: &str) -> Result<Caller> {
        self.keyring.caller(&Claims { credential: Some(credential), ..Claims::default() })
    }

    /// The caller from this machine without a credential.
    fn nobody(&self) -> Result<Caller> {
        self.keyring.caller(&Claims { is_local: true, ..Claims::default() })
    }

    fn create(&self, caller: &Caller, wanted: NewKey) -> (KeyId, String) {
        let (id, _, shown) = self.keyring.create(caller, wanted).unwrap();
        (id, shown)
    }

    /// The first key.
    fn admin(&self) -> (KeyId, String) {
        self.create(&self.nobody().unwrap(), admin())
    }

    /// A key of ada's by the administrator's.
    fn adas(&self, admin: &str, collections: &[&str]) -> (KeyId, String) {
        let collections = collections.iter().map(|&name| name.into()).collect();
        self.create(&self.with(admin).unwrap(), NewKey { collections, ..of("ada", &[Scope::Read, Scope::Write]) })
    }
}

fn scopes(scopes: &[Scope]) -> Scopes {
    scopes.iter().copied().collect()
}

fn of(tenant: &str, rights: &[Scope]) -> NewKey {
    let (name, tenant) = ("a name".into(), tenant.into());
    NewKey { name, tenant, scopes: scopes(rights), collections: Vec::new(), expires_in_ms: None }
}

fn admin() -> NewKey {
    of("", &[Scope::Admin])
}

fn token(rights: &[Scope]) -> NewToken {
    NewToken { scopes: scopes(rights), collections: Vec::new(), origin: String::new(), ttl_ms: 0 }
}

fn kind<T>(outcome: Result<T>) -> ErrorKind {
    match outcome {
        Ok(_) => panic!("this passed"),
        Err(error) => error.kind(),
    }
}

fn message<T>(outcome: Result<T>) -> String {
    outcome.err().unwrap().message().to_owned()
}

#[test]
fn without_keys_this_machine_is_believed_and_with_the_first_one_nobody_is() {
    let world = World::new(None);
    let nobody = world.nobody().unwrap();
    assert_eq!(nobody.tenant().name(), "default");
    nobody.require(Scope::Admin).unwrap();
    let ada = |is_local| Claims { user: Some("ada"), is_local, ..Claims::default() };
    assert_eq!(world.keyring.caller(&ada(true)).unwrap().tenant().name(), "ada");
    assert_eq!(kind(world.keyring.caller(&ada(false))), ErrorKind::PermissionDenied);
    for bad in ["", "../x", "a b", &"a".repeat(129)] {
        let claims = Claims { user: Some(bad), is_local: true, ..Claims::default() };
        assert_eq!(kind(world.keyring.caller(&claims)), ErrorKind::InvalidArgument, "{bad}");
    }
    let stranger = world.keyring.caller(&Claims::default()).unwrap();
    assert_eq!(kind(stranger.require_key()), ErrorKind::PermissionDenied, "it could take the server over");
    assert_eq!(kind(world.with("anything")), ErrorKind::Unauthenticated, "what is sent is never passed over");

    let (_, shown) = world.admin();
    assert_eq!(kind(world.nobody()), ErrorKind::Unauthenticated);
    assert_eq!(kind(world.keyring.check(&nobody)), ErrorKind::Unauthenticated, "who came in before has to come again");
    assert_eq!(kind(world.keyring.create(&nobody, admin())), ErrorKind::Unauthenticated);
    world.with(&shown).unwrap();
}

#[test]
fn the_first_key_and_the_last_can_make_others_for_good() {
    let world = World::new(None);
    let nobody = world.nobody().unwrap();
    let expiring = NewKey { expires_in_ms: Some(1), ..admin() };
    for first in [of("ada", &[Scope::Read, Scope::Write, Scope::Sync]), expiring] {
        assert!(message(world.keyring.create(&nobody, first)).contains("the first key has the scope `admin`"));
    }
    assert!(!world.folder.path().join("KEYS").exists());
    let (first, shown) = world.admin();
    let (adas, _) = world.adas(&shown, &[]);
    let caller = world.with(&shown).unwrap();
    assert!(message(world.keyring.revoke(&caller, first)).contains(&first.to_string()));
    world.create(&caller, NewKey { expires_in_ms: Some(MINUTE), ..admin() });
    assert_eq!(kind(world.keyring.revoke(&caller, first)), ErrorKind::InvalidArgument, "the other one expires");
    let (second, shown_second) = world.create(&caller, admin());
    assert!(world.keyring.revoke(&caller, first).unwrap());
    assert_eq!(kind(world.with(&shown)), ErrorKind::Unauthenticated);
    assert_eq!(kind(world.keyring.revoke(&caller, second)), ErrorKind::Unauthenticated, "it is nobody's any more");
    let caller = world.with(&shown_second).unwrap();
    assert!(!world.keyring.revoke(&caller, first).unwrap(), "it is gone already");
    assert!(world.keyring.revoke(&caller, adas).unwrap());

    // The setting stands in for it.
    let world = World::new(Some(ADMIN_KEY));
    assert_eq!(kind(world.nobody()), ErrorKind::Unauthenticated);
    let caller = world.with(ADMIN_KEY).unwrap();
    let (only, _) = world.create(&caller, of("ada", &[Scope::Read]));
    assert!(world.keyring.revoke(&caller, only).unwrap());
    assert_eq!(kind(world.with("an administrator's key of enough characterS")), ErrorKind::Unauthenticated);
}

#[test]
fn a_key_says_whose_tenant_it_is_and_only_the_administrator_chooses() {
    let world = World::new(None);
    let (_, shown) = world.admin();
    let (id, adas) = world.adas(&shown, &["c"]);
    let caller = world.with(&adas).unwrap();
    assert_eq!(caller.tenant().name(), "ada");
    caller.require(Scope::Write).unwrap();
    for scope in [Scope::Sync, Scope::Admin] {
        assert!(message(caller.require(scope)).contains(&scope.to_string()));
    }
    let name = |name| CollectionName::new(name).unwrap();
    caller.require_collection(&name("c")).unwrap();
    assert!(message(caller.require_collection(&name("d"))).contains("`d`"));
    for user in ["ada", "grace", ""] {
        let claims = Claims { credential: Some(&adas), user: Some(user), is_local: true, ..Claims::default() };
        assert_eq!(kind(world.keyring.caller(&claims)), ErrorKind::PermissionDenied, "{user}");
    }
    for (user, tenant) in [(None, "default"), (Some("grace"), "grace")] {
        let claims = Claims { credential: Some(&shown), user, ..Claims::default() };
        assert_eq!(world.keyring.caller(&claims).unwrap().tenant().name(), tenant, "from anywhere");
    }
    let keys = world.keyring.list();
    let (_, key) = keys.iter().find(|(known, _)| *known == id).unwrap();
    assert_eq!((key.name.as_str(), key.created_ms, key.expires_ms), ("a name", 1_000_000, None));
}

#[test]
fn what_is_not_valid_is_answered_the_same_whatever_is_wrong() {
    let world = World::new(None);
    let (id, shown) = world.admin();
    let (revoked, gone) = world.adas(&shown, &[]);
    world.keyring.revoke(&world.with(&shown).unwrap(), revoked).unwrap();
    let other = World::new(None);
    let (_, foreign) = other.admin();
    let (minted, _) = other.keyring.mint(&other.with(&foreign).unwrap(), &token(&[Scope::Read])).unwrap();
    let wrong = format!("hs_{id}_{}", &foreign[20..]);
    let last = if shown.ends_with('A') { "E" } else { "A" };
    let close = format!("{}{last}", &shown[..shown.len() - 1]);
    let cases = ["", "x", "hs_", "hst_", "hst_AAAA", &gone, &foreign, &minted, &wrong, &close, &shown[1..], "k\u{e4}y"];
    for credential in cases {
        let error = world.with(credential).unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Unauthenticated, "the credential is not valid"),
            "{credential}"
        );
    }
    world.with(&shown).unwrap();
}

#[test]
fn keys_end_when_they_expire() {
    let world = World::new(None);
    let (_, shown) = world.admin();
    let wanted = NewKey { expires_in_ms: Some(MINUTE), ..of("ada", &[Scope::Read]) };
    let (_, adas) = world.create(&world.with(&shown).unwrap(), wanted);
    let caller = world.with(&adas).unwrap();
    let (minted, expires_ms) = world.keyring.mint(&caller, &token(&[Scope::Read])).unwrap();
    assert_eq!(expires_ms, 1_000_000 + MINUTE, "no token outlives its key");
    world.later(MINUTE - 1);
    world.with(&adas).unwrap();
    world.with(&minted).unwrap();
    world.later(1);
    for credential in [&adas, &minted] {
        let error = world.with(credential).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Unauthenticated, "the credential has expired"));
    }
    assert_eq!(kind(world.keyring.check(&caller)), ErrorKind::Unauthenticated);
    world.with(&shown).unwrap();
}

#[test]
fn what_no_key_can_be_is_refused() {
    let world = World::new(Some(ADMIN_KEY));
    let caller = world.with(ADMIN_KEY).unwrap();
    let read = || of("ada", &[Scope::Read]);
    let cases = [
        ("tenant", of("", &[Scope::Read])),
        ("tenant", of("../ada", &[Scope::Read])),
        ("tenants", of("ada", &[Scope::Admin])),
        ("scopes", of("ada", &[])),
        ("collections", NewKey { collections: vec!["c".into()], ..admin() }),
        ("collection", NewKey { collections: vec!["C".into()], ..read() }),
        ("expires", NewKey { expires_in_ms: Some(0), ..read() }),
        ("name", NewKey { name: "n".repeat(129), ..read() }),
        ("name", NewKey { name: "a\nb".into(), ..read() }),
    ];
    for (named, wanted) in cases {
        let error = world.keyring.create(&caller, wanted).err().unwrap();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains(named), "{named}: {error}");
    }
    let many = NewKey { collections: (0..101).map(|n| format!("c{n}")).collect(), ..read() };
    assert_eq!(kind(world.keyring.create(&caller, many)), ErrorKind::LimitExceeded);
    world.create(&caller, NewKey { expires_in_ms: Some(u64::MAX), name: "n".repeat(128), ..read() });
    assert_eq!(world.keyring.list().len(), 1);
}

#[test]
fn a_token_is_a_part_of_its_key_for_a_while_and_for_one_origin() {
    let world = World::new(None);
    let (_, shown) = world.admin();
    let (id, adas) = world.adas(&shown, &["a", "b"]);
    let caller = world.with(&adas).unwrap();
    let wanted =
        NewToken { collections: vec!["b".into()], origin: "https://App.example".into(), ..token(&[Scope::Read]) };
    let (minted, expires_ms) = world.keyring.mint(&caller, &wanted).unwrap();
    assert_eq!(expires_ms, 1_000_000 + 15 * MINUTE);
    let from = |origin| world.keyring.caller(&Claims { credential: Some(&minted), origin, ..Claims::default() });
    for origin in ["https://app.example", "HTTPS://APP.EXAMPLE"] {
        let bearer = from(Some(origin)).unwrap();
        assert_eq!(bearer.tenant().name(), "ada");
        assert!(bearer.require(Scope::Read).is_ok() && bearer.require(Scope::Write).is_err());
        assert!(bearer.sees("b") && !bearer.sees("a"));
        assert_eq!(kind(bearer.require_key()), ErrorKind::PermissionDenied, "a token makes no tokens");
    }
    for origin in [None, Some("https://app.example:1"), Some("http://app.example"), Some("null"), Some("")] {
        assert_eq!(kind(from(origin)), ErrorKind::PermissionDenied, "{origin:?}");
    }
    let named =
        Claims { credential: Some(&minted), origin: Some("https://app.example"), user: Some("ada"), is_local: true };
    assert_eq!(kind(world.keyring.caller(&named)), ErrorKind::PermissionDenied);

    let (plain, _) = world.keyring.mint(&caller, &NewToken { ttl_ms: 1, ..token(&[Scope::Read]) }).unwrap();
    let bearer = world.with(&plain).unwrap();
    assert!(bearer.sees("a") && bearer.sees("b") && !bearer.sees("c"), "those of the key");
    world.later(1);
    assert_eq!(kind(world.with(&plain)), ErrorKind::Unauthenticated);
    from(Some("https://app.example")).unwrap();
    world.keyring.revoke(&world.with(&shown).unwrap(), id).unwrap();
    assert_eq!(kind(from(Some("https://app.example"))), ErrorKind::Unauthenticated, "it dies with its key");
}

#[test]
fn nobody_mints_more_than_they_have() {
    let world = World::new(None);
    let (_, shown) = world.admin();
    let (_, adas) = world.adas(&shown, &["a"]);
    let caller = world.with(&adas).unwrap();
    let mint = |wanted: NewToken| world.keyring.mint(&caller, &wanted);
    assert_eq!(kind(mint(token(&[Scope::Read, Scope::Sync]))), ErrorKind::PermissionDenied);
    assert_eq!(kind(mint(token(&[Scope::Admin]))), ErrorKind::InvalidArgument);
    assert_eq!(kind(mint(token(&[]))), ErrorKind::InvalidArgument);
    assert_eq!(
        kind(mint(NewToken { collections: vec!["a".into(), "b".into()], ..token(&[Scope::Read]) })),
        ErrorKind::PermissionDenied
    );
    assert!(message(mint(NewToken { ttl_ms: 900_001, ..token(&[Scope::Read]) })).contains("900001"));
    let long = format!("https://{}", "a".repeat(248));
    for origin in ["*", "null", "app.example", "https://app.example/", &long] {
        let wanted = NewToken { origin: origin.into(), ..token(&[Scope::Read]) };
        assert_eq!(kind(mint(wanted)), ErrorKind::InvalidArgument, "{origin}");
    }
    let administrator = world.with(&shown).unwrap();
    assert_eq!(
        kind(world.keyring.mint(&administrator, &token(&[Scope::Read, Scope::Admin]))),
        ErrorKind::InvalidArgument,
        "in no browser is there an administrator"
    );
    let claims = Claims { credential: Some(&shown), user: Some("grace"), ..Claims::default() };
    let acting = world.keyring.caller(&claims).unwrap();
    let (minted, _) = world.keyring.mint(&acting, &token(&[Scope::Read])).unwrap();
    assert_eq!(world.with(&minted).unwrap().tenant().name(), "grace");
}

#[test]
fn keys_and_tokens_outlive_the_process_and_a_token_not_what_vouched_for_it() {
    let world = World::new(None);
    let (open, _) = world.keyring.mint(&world.nobody().unwrap(), &token(&[Scope::Read])).unwrap();
    world.with(&open).unwrap();
    let world = world.again(None).unwrap();
    world.with(&open).unwrap();
    let (_, shown) = world.admin();
    assert_eq!(kind(world.with(&open)), ErrorKind::Unauthenticated, "of a time without keys");
    let (_, adas) = world.adas(&shown, &["c"]);
    let (minted, _) = world.keyring.mint(&world.with(&adas).unwrap(), &token(&[Scope::Read])).unwrap();

    let world = world.again(Some(ADMIN_KEY)).unwrap();
    for credential in [&shown, &adas, &minted] {
        world.with(credential).unwrap();
    }
    assert!(world.with(&adas).unwrap().sees("c") && !world.with(&adas).unwrap().sees("d"));
    let (by_setting, _) = world.keyring.mint(&world.with(ADMIN_KEY).unwrap(), &token(&[Scope::Read])).unwrap();
    world.with(&by_setting).unwrap();
    for changed in [Some("another administrator's key, long enough"), None] {
        let again = World::on(copy(world.folder.path()), changed).unwrap();
        assert_eq!(kind(again.with(&by_setting)), ErrorKind::Unauthenticated, "{changed:?}");
        again.with(&minted).unwrap();
    }
}

/// A copy of the keys in a folder of their own.
fn copy(folder: &Path) -> TempDir {
    let other = tempfile::tempdir().unwrap();
    fs::copy(folder.join("KEYS"), other.path().join("KEYS")).unwrap();
    other
}

#[test]
fn damaged_keys_let_nobody_in() {
    let world = World::new(None);
    world.admin();
    let bytes = fs::read(world.folder.path().join("KEYS")).unwrap();
    for at in [0, 4, 8, 12, 20, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("KEYS"), damaged).unwrap();
        assert!(message(World::on(folder, Some(ADMIN_KEY))).starts_with("file KEYS: "), "byte {at}");
    }
}

#[test]
fn a_change_that_cannot_be_stored_counts_for_nobody() {
    let world = World::new(None);
    let (first, shown) = world.admin();
    // A folder in the way of the file's new form.
    let in_the_way = world.folder.path().join("KEYS.new");
    fs::create_dir(&in_the_way).unwrap();
    let caller = world.with(&shown).unwrap();
    assert!(world.keyring.create(&caller, admin()).is_err());
    assert!(world.keyring.revoke(&caller, first).is_err());
    world.with(&shown).unwrap();
    assert_eq!(world.keyring.list().len(), 1);
    fs::remove_dir(&in_the_way).unwrap();
    assert!(world.keyring.revoke(&caller, first).unwrap());
    world.nobody().unwrap();

    world.keeper.close().unwrap();
    let nobody = world.nobody().unwrap();
    assert_eq!(kind(world.keyring.create(&nobody, admin())), ErrorKind::Closed, "the directory may be another's");
}
