//! The one key that signs what targets sign. Made from a seed; it protects nothing.

use std::sync::LazyLock;

use carrack_repo::PublicKey;
use kit::Curve;
use kit::key::Key;
use kit::rng::Rng;

/// The seed of the key; the seeds of the corpora are signed with it too.
pub const SEED: u64 = 0xca44_ac6b;

/// The signing key.
pub static SIGNING: LazyLock<Key> = LazyLock::new(|| Key::random(Curve::K256, &mut Rng::new(SEED)));

/// Its public half.
pub static PUBLIC: LazyLock<PublicKey> = LazyLock::new(|| {
    let text = SIGNING.did_key();
    text.parse().expect("the kit writes did:key")
});
