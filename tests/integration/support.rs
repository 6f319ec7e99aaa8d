//! What the tests share: where the data sets are, and how a test says that it could not run.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the repository")
}

/// The folder of one of the shared data sets (`minilm-384`, `glove-50`, ...); without it the calling test is recorded
/// as skipped and has to return.
///
/// `HS_DATA` names the folder that holds them, else it is `../shared/data` beside the repository.
pub(crate) fn data_set(name: &str) -> Option<PathBuf> {
    let all = std::env::var_os("HS_DATA").map_or_else(|| repository().join("../shared/data"), PathBuf::from);
    let folder = all.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    skip(&format!("no data set {name}: set HS_DATA to the folder that holds it"));
    None
}

/// Records that the calling test did not run, and why.
///
/// Rust's runner knows no skipping at run time and counts the test as passed; `npm test` reads the file that
/// `HS_SKIPS` names and counts it as skipped.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    record_skip(std::env::var_os("HS_SKIPS").as_deref().map(Path::new), thread.name().unwrap_or("?"), reason);
}

fn record_skip(list: Option<&Path>, test: &str, reason: &str) {
    let line = format!("{test}\t{}\n", reason.replace(['\t', '\n'], " "));
    eprint!("skipped: {line}");
    let Some(list) = list else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(list).expect("npm test made the folder");
    file.write_all(line.as_bytes()).expect("the list of skipped tests takes a line");
}

#[test]
fn a_skipped_test_leaves_its_name_and_reason() {
    let list = std::env::temp_dir().join(format!("hyperspace-skips-{}", std::process::id()));
    record_skip(Some(&list), "recall::of_glove", "no data\nset");
    record_skip(Some(&list), "recall::of_mnist", "neither");
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::remove_file(&list).unwrap();
    assert_eq!(text, "recall::of_glove\tno data set\nrecall::of_mnist\tneither\n");
}

/// A small generator of repeatable numbers (`SplitMix64`); tests print the seed they give it.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// About normal: the sum of twelve uniform numbers less six.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..12).map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0
    }
}
