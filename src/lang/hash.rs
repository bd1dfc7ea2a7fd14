//! Short names for content, in the alphabet of pod-template hashes (reference, rollouts 2.2).

const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a over 32 bits as a decimal number, each digit written as a letter that is fit for a label. Equal to what the
/// original computes over the same bytes.
pub fn short(bytes: &[u8]) -> String {
    safe_encode(fnv1a_32(bytes))
}

fn fnv1a_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

fn safe_encode(number: u32) -> String {
    let letter = |byte: u8| char::from(*ALPHABET.get(usize::from(byte) % ALPHABET.len()).unwrap_or(&b'b'));
    number.to_string().bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_originals() {
        let steps = r#"[{"setWeight":20},{"pause":{}},{"setWeight":60},{"pause":{"duration":"1h"}}]"#;
        assert_eq!(short(steps.as_bytes()), "6ff65987d");
    }
}
