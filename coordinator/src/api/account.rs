//! The key's own account.

use axum::Json;
use axum::extract::{Extension, State};
use serde_json::json;

use super::Api;
use super::renders::Answer;
use crate::api_keys::Caller;

/// `GET /v3/users/me`.
pub(super) async fn me(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Answer {
    let spent = api.usages.spent(&caller.id).await?;
    let left = caller.rights.cap_usd.map(|cap| (cap - spent).max(0.0));
    Ok(Json(json!({ "data": {
        "username": caller.name, "email": null, "first_name": null, "last_name": null,
        "billing_type": "usage_based",
        "usage_based": {
            "spending_current_usd": spent, "spending_cap_usd": caller.rights.cap_usd, "included_credits": 0,
            "remaining_credits": left,
        },
        "space": caller.rights.space, "key_id": caller.id, "scopes": caller.rights.scopes,
    } })))
}
