//! Signatures as Standard Webhooks has them: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
//!
//! The receiver checks HMAC-SHA256 over `id.timestamp.body`. While a key is being changed there are two, and a signature
//! with each; the receiver accepts either.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::secrets::Source;

/// Bytes of a key, as the specification has it.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Keys at a time: the one in use and the one that takes its place.
pub(super) const KEYS_MAX: usize = 2;

/// Signs notifications.
#[derive(Debug, Default)]
pub(super) struct Signer {
    keys: Vec<Source>,
}

impl Signer {
    pub(super) fn new(keys: Vec<Source>) -> Self {
        Self { keys }
    }

    /// Are there keys to sign with?
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Can every key be read now? Says which cannot.
    pub(super) fn check(&self) -> Result<(), String> {
        self.keys.iter().try_for_each(|source| read_key(source).map(drop))
    }

    /// The value of `webhook-signature`; none without keys.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Result<Option<String>, String> {
        let sign = |source: &Source| {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(&read_key(source)?).map_err(|error| error.to_string())?;
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
        };
        let signatures: Vec<String> = self.keys.iter().map(sign).collect::<Result<_, String>>()?;
        Ok((!signatures.is_empty()).then(|| signatures.join(" ")))
    }
}

fn read_key(source: &Source) -> Result<Vec<u8>, String> {
    let text = source.resolve()?;
    let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(&text)).ok();
    key.filter(|key| KEY_BYTES.contains(&key.len())).ok_or_else(|| {
        format!(
            "is not a key of {} to {} bytes in base64: make one by `echo whsec_$(openssl rand -base64 32)`",
            KEY_BYTES.start(),
            KEY_BYTES.end()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn signer(keys: &[&str]) -> Signer {
        Signer::new(keys.iter().map(|key| Source::Value((*key).into())).collect())
    }

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        let signature =
            signer(&[KEY]).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature.unwrap().unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_keys_make_two_signatures_and_none_makes_none() {
        let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let both = signer(&[KEY, other]).sign("a", 1, b"x").unwrap().unwrap();
        let one = signer(&[other]).sign("a", 1, b"x").unwrap().unwrap();
        let (first, second) = both.split_once(' ').unwrap();
        assert!(first != second && second == one);
        assert_eq!(signer(&[]).sign("a", 1, b"x"), Ok(None));
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_being_repeated() {
        for key in ["whsec_short", "hunter2hunter2hunter2hunter2!", "whsec_", "whsec_aHVudGVyMg=="] {
            let message = signer(&[key]).check().unwrap_err();
            assert!(message.contains("openssl") && !message.contains("hunter2"), "{message}");
        }
    }
}
