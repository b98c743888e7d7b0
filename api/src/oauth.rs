//! Answers of the sign-in by OAuth, in the words of RFC 6749 and RFC 8628.

use serde::Serialize;

/// A sign-in that was begun on a device without a browser (RFC 8628, section 3.2).
#[derive(Debug, Clone, Serialize)]
pub struct DeviceAuthorization {
    /// What the device asks for its tokens with.
    pub device_code: String,
    /// What the person types on the page.
    pub user_code: String,
    /// The page where the person types it.
    pub verification_uri: String,
    /// The page with the code filled in.
    pub verification_uri_complete: String,
    /// Seconds until both codes are worth nothing.
    pub expires_in: u64,
    /// Seconds to wait between two questions for the tokens.
    pub interval: u64,
}

/// Tokens (RFC 6749, section 5.1).
#[derive(Debug, Clone, Serialize)]
pub struct AccessToken {
    /// What stands for the key in `Authorization: Bearer`.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds until the access token has to be refreshed.
    pub expires_in: u64,
    /// What the next access token is asked with, once.
    pub refresh_token: String,
}

/// A refusal (RFC 6749, section 5.2).
#[derive(Debug, Clone, Serialize)]
pub struct OAuthError {
    /// One of OAuth's codes.
    pub error: &'static str,
    /// Why, as a sentence.
    pub error_description: String,
}
