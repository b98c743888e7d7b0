//! The headers of a delivery, with the signatures of three schemes: the documented one of the hosted service, the one that its consumers
//! read today, and Standard Webhooks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

fn mac(key: &[u8], parts: &[&[u8]]) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().to_vec())
}

/// The headers of a delivery of `body`, sent at `timestamp` (Unix seconds). Without a secret there are no signatures.
pub fn headers(secret: Option<&str>, event_id: &str, timestamp: u64, body: &[u8]) -> Vec<(String, String)> {
    let stamp = timestamp.to_string();
    let mut headers = vec![
        ("heygen-timestamp".to_owned(), stamp.clone()),
        ("heygen-event-id".to_owned(), event_id.to_owned()),
        ("webhook-id".to_owned(), event_id.to_owned()),
        ("webhook-timestamp".to_owned(), stamp.clone()),
    ];
    let Some(secret) = secret else { return headers };
    if let Some(signature) = mac(secret.as_bytes(), &[body]) {
        let signature = hex::encode(signature);
        headers.push(("heygen-signature".to_owned(), signature.clone()));
        headers.push(("signature".to_owned(), signature));
    }
    // The key of Standard Webhooks is the decoded text after the prefix. For any other secret it is the bytes of the text.
    let decoded = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let key = decoded.unwrap_or_else(|| secret.as_bytes().to_vec());
    if let Some(signature) = mac(&key, &[event_id.as_bytes(), b".", stamp.as_bytes(), b".", body]) {
        headers.push(("webhook-signature".to_owned(), format!("v1,{}", STANDARD.encode(signature))));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_published_recipes() {
        // The vector of the Standard Webhooks specification.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = br#"{"test": 2432232314}"#;
        let headers = headers(Some(secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        let value = |name: &str| headers.iter().find(|(found, _)| found == name).unwrap().1.clone();
        assert_eq!(value("webhook-signature"), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(value("heygen-signature"), value("signature"));
        assert_eq!(value("signature").len(), 64);
    }

    #[test]
    fn the_hosted_services_signature_is_keyed_with_the_whole_secret() {
        // RFC 4231, test case 2.
        let headers = headers(Some("Jefe"), "e", 0, b"what do ya want for nothing?");
        let signature = &headers.iter().find(|(name, _)| name == "heygen-signature").unwrap().1;
        assert_eq!(signature, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
