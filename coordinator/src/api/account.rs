//! The key's own account.

use axum::Json;
use axum::extract::{Extension, State};
use hyperfarm_api::account::{Account, AccountAnswer, BillingType, Spending};

use super::Api;
use super::error::ApiError;
use crate::api_keys::Caller;

/// `GET /v3/users/me`.
pub(super) async fn me(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<AccountAnswer>, ApiError> {
    let spent = api.usages.spent(&caller.id).await?;
    let rights = caller.rights;
    let account = Account {
        username: caller.name,
        email: None,
        first_name: None,
        last_name: None,
        billing_type: BillingType::UsageBased,
        wallet: None,
        subscription: None,
        usage_based: Spending {
            spending_current_usd: spent,
            spending_cap_usd: rights.cap_usd,
            included_credits: 0.0,
            remaining_credits: rights.cap_usd.map(|cap| (cap - spent).max(0.0)),
        },
        space: rights.space.into(),
        key_id: caller.id,
        scopes: rights.scopes,
    };
    Ok(Json(AccountAnswer::new(account)))
}
