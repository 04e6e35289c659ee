//! Opaque tokens and digests: text that travels through clients and comes back unharmed or not at all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Why a token cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was cut, changed, or never was a token of this kind.
    #[error("is cut, changed or not a token of this kind")]
    Malformed,
}

/// The first 16 bytes of SHA-256: enough to tell contents apart.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let whole = hash.finalize();
    std::array::from_fn(|i| whole[i])
}

/// Text of `kind` and `bytes` with a checksum of four bytes, in URL-safe base64.
pub fn write_token(kind: &str, bytes: &[u8]) -> String {
    let check = digest([kind.as_bytes(), bytes]);
    format!("{kind}.{}", URL_SAFE_NO_PAD.encode([bytes, &check[..4]].concat()))
}

/// The bytes of a token of `kind`.
pub fn read_token(kind: &str, text: &str) -> Result<Vec<u8>, TokenError> {
    let body =
        text.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')).ok_or(TokenError::Malformed)?;
    let mut bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::Malformed)?;
    let check = bytes.split_off(bytes.len().checked_sub(4).ok_or(TokenError::Malformed)?);
    if check != digest([kind.as_bytes(), bytes.as_slice()])[..4] {
        return Err(TokenError::Malformed);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_survives_its_text(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let text = write_token("t1", &bytes);
            prop_assert_eq!(read_token("t1", &text), Ok(bytes));
            prop_assert_eq!(read_token("t2", &text), Err(TokenError::Malformed));
        }

        #[test]
        fn any_text_is_read_or_refused_but_never_panics(text in ".*") {
            let _ = read_token("t1", &text);
            let _ = read_token("t1", &format!("t1.{text}"));
        }

        #[test]
        fn a_changed_digit_is_noticed(bytes in proptest::collection::vec(any::<u8>(), 1..40), at in 0usize..40) {
            let text = write_token("t1", &bytes);
            let at = 3 + at % (text.len() - 3);
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            prop_assert!(read_token("t1", &String::from_utf8(changed).unwrap()).is_err());
        }
    }
}
