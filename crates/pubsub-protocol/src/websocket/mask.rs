//! Masking (RFC 6455, 5.3): an XOR with four bytes, over and over. Masking twice is unmasking.

/// Masks or unmasks `bytes`, whose first byte meets the first byte of `key`.
pub(super) fn apply(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    // Whole words in a plain loop: the compiler turns it into vector instructions, at any alignment.
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The key as it has to be after `bytes` bytes of the payload went by.
pub(super) fn advanced(mut key: [u8; 4], bytes: usize) -> [u8; 4] {
    key.rotate_left(bytes % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

    #[test]
    fn every_byte_meets_its_byte_of_the_key_at_any_length_and_cut() {
        for len in 0..70 {
            let plain: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let expected: Vec<u8> = plain.iter().enumerate().map(|(i, b)| b ^ KEY[i % 4]).collect();
            for cut in 0..=plain.len() {
                let mut bytes = plain.clone();
                let (head, tail) = bytes.split_at_mut(cut);
                apply(head, KEY);
                apply(tail, advanced(KEY, cut));
                assert_eq!(bytes, expected, "{len} bytes cut at {cut}");
            }
        }
    }
}
