//! Variants of an input that are the same in each run. What libFuzzer tries depends on what it has seen covered, and that on the order of hash tables
//! and on time: even with a seed, two runs try different inputs. CI must not fail because of chance; it runs these.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

/// Runs a target on an input, and on as many variants of it as `OUTRIGGER_FUZZ_VARIANTS` says. One that fails is written to the folder
/// `OUTRIGGER_FUZZ_CRASHES`.
pub fn run(data: &[u8], target: fn(&[u8])) {
    target(data);
    for n in 0..count() {
        let variant = variant(data, n);
        if let Ok(mut present) = PRESENT.lock() {
            present.clone_from(&variant);
        }
        target(&variant);
    }
}

/// The variant that is being run.
static PRESENT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn count() -> u64 {
    static COUNT: OnceLock<u64> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let wanted = std::env::var("OUTRIGGER_FUZZ_VARIANTS").ok().and_then(|count| count.parse().ok());
        let Some(wanted) = wanted.filter(|wanted| *wanted > 0) else { return 0 };
        // libFuzzer knows only the input that a variant was made from.
        let aborts = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            keep();
            aborts(what);
        }));
        wanted
    })
}

fn keep() {
    let (Ok(variant), Some(folder)) = (PRESENT.try_lock(), std::env::var_os("OUTRIGGER_FUZZ_CRASHES")) else { return };
    let path = PathBuf::from(folder).join(format!("variant-{:016x}", hash(&variant)));
    if std::fs::write(&path, &*variant).is_ok() {
        eprintln!("Test unit written to {}", path.display());
    }
}

/// The n-th variant of an input: one to four changes of it.
fn variant(data: &[u8], n: u64) -> Vec<u8> {
    let mut dice = Dice(hash(data) ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut variant = data.to_vec();
    for _ in 0..=dice.below(4) {
        let (at, other) = (dice.below(variant.len() + 1), dice.below(variant.len() + 1));
        let (from, to) = (at.min(other), at.max(other));
        let byte = INTERESTING[dice.below(INTERESTING.len())];
        let short = to.min(from + 1 + dice.below(8));
        match dice.below(8) {
            0 => variant.insert(at, byte),
            1 => drop(variant.drain(from..short)),
            2 => {
                let copy = variant[from..short].to_vec();
                variant.splice(to..to, copy);
            }
            3 => variant.truncate(variant.len() - dice.below(8).min(variant.len())),
            4 => variant[from..short].reverse(),
            kind if at < variant.len() => {
                variant[at] = match kind {
                    5 => byte,
                    6 => variant[at] ^ 1 << dice.below(8),
                    _ => variant[at].wrapping_add(u8::try_from(dice.below(5)).unwrap_or_default()).wrapping_sub(2),
                };
            }
            _ => variant.push(byte),
        }
    }
    variant.truncate(4096);
    variant
}

fn hash(data: &[u8]) -> u64 {
    // Its keys are constant, unlike those of a hash table.
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

/// Xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or_default() % limit
    }
}

const INTERESTING: &[u8] = b"\0\x01\x02\x04\x08\x10\x20\x40\x7f\x80\xff\t\r\n :;,=/%\"0129aAzZ";
