//! Answers of the sign-in by OAuth, in the words of RFC 6749 and RFC 8628.

use serde::Serialize;

/// A sign-in that was begun on a device without a browser (RFC 8628, section 3.2).
#[derive(Debug, Clone, Serialize)]
pub struct DeviceAuthorization {
    /// The code that the device sends to get its tokens.
    pub device_code: String,
    /// The code that the person enters at `verification_uri`.
    pub user_code: String,
    /// URL of the page where `user_code` is entered.
    pub verification_uri: String,
    /// The same URL with the code filled in.
    pub verification_uri_complete: String,
    /// Seconds until both codes expire.
    pub expires_in: u64,
    /// Seconds that the device waits between two requests for its tokens.
    pub interval: u64,
}

/// Tokens (RFC 6749, section 5.1).
#[derive(Debug, Clone, Serialize)]
pub struct AccessToken {
    /// The token that is sent as `Authorization: Bearer` in place of an API key.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// The token that is exchanged, once, for the next access token.
    pub refresh_token: String,
}

/// A refusal (RFC 6749, section 5.2).
#[derive(Debug, Clone, Serialize)]
pub struct OAuthError {
    /// One of OAuth's codes.
    pub error: &'static str,
    /// A sentence that says why.
    pub error_description: String,
}
