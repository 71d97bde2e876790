//! Speed of the two ciphers that `ring` offers, on one core: the figures behind docs/decisions/0015.

use std::time::Instant;

use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

const MESSAGE_BYTES: usize = 4 << 20;
const MESSAGE_COUNT: u32 = 64;

fn main() {
    for (name, algorithm) in [
        ("AES-256-GCM", &AES_256_GCM),
        ("ChaCha20-Poly1305", &CHACHA20_POLY1305),
    ] {
        let best = (0..5).map(|_| megabytes_per_s(algorithm)).fold(0.0, f64::max);
        println!("{name}: {best:.0} MB/s, messages of {MESSAGE_BYTES} bytes, best of 5");
    }
}

fn megabytes_per_s(algorithm: &'static Algorithm) -> f64 {
    let Ok(unbound) = UnboundKey::new(algorithm, &[7; 32]) else {
        return 0.0;
    };
    let key = LessSafeKey::new(unbound);
    let mut message = vec![1_u8; MESSAGE_BYTES];
    let start = Instant::now();
    for count in 0..MESSAGE_COUNT {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&count.to_le_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut message);
        assert!(tag.is_ok());
    }
    let bytes = f64::from(MESSAGE_COUNT) * f64::from(4 << 20);
    bytes / start.elapsed().as_secs_f64() / 1e6
}
