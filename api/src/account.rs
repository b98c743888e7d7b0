//! The key's own account, and the process's health.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer about the key's own account, in the hosted service's older envelope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct AccountAnswer {
    /// 100: the key is valid.
    pub code: u16,
    /// The account.
    pub data: Account,
    /// Always `null`.
    pub message: Option<String>,
}

impl AccountAnswer {
    /// The answer for a valid key.
    pub fn new(data: Account) -> Self {
        Self { code: 100, data, message: None }
    }
}

/// What the key may do and has spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// The key's name.
    pub username: String,
    /// Always `null`: keys have no e-mail address.
    pub email: Option<String>,
    /// Always `null`: keys have no first name.
    pub first_name: Option<String>,
    /// Always `null`: keys have no last name.
    pub last_name: Option<String>,
    /// Renders are always paid for by usage.
    pub billing_type: BillingType,
    /// Always `null`: the farm has no prepaid balances.
    pub wallet: Option<Plan>,
    /// Always `null`: the farm has no subscriptions.
    pub subscription: Option<Plan>,
    /// What was spent, and what is left.
    pub usage_based: Spending,
    /// The tenant. An extension.
    pub space: String,
    /// The key. An extension.
    pub key_id: String,
    /// What the key may be used for. An extension.
    pub scopes: Vec<Scope>,
}

/// A way of payment that only the hosted service has.
pub type Plan = serde_json::Map<String, serde_json::Value>;

/// How renders are paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum BillingType {
    /// By what was rendered.
    UsageBased,
}

/// Spending, in US dollars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spending {
    /// Spent so far.
    pub spending_current_usd: f64,
    /// The key's cap, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spending_cap_usd: Option<f64>,
    /// Always 0: the farm gives no credits.
    pub included_credits: f64,
    /// US dollars left of the cap, where the key has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_credits: Option<f64>,
}

/// What a key may be used for. Each scope includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Scope {
    /// Look at renders, assets and webhooks.
    Read,
    /// Make, change and remove them.
    Render,
    /// Everything, the farm's metrics included.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::Read, Self::Render, Self::Admin];

    /// The scope's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Render => "render",
            Self::Admin => "admin",
        }
    }

    /// Whether a key with this scope may do what `needed` asks for: each scope includes those before it.
    pub fn covers(self, needed: Self) -> bool {
        self as u8 >= needed as u8
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no scope: give read, render or admin"))
    }
}

/// Health or readiness of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// `ok` or `ready`.
    pub status: String,
    /// The farm's version.
    pub version: String,
    /// Role of this coordinator in scheduling. Only `/readyz` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerRole>,
}

/// Role of a coordinator in scheduling. Of several coordinators one schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchedulerRole {
    /// This coordinator plans, dispatches and ends renders.
    Active,
    /// This coordinator serves the API. It takes the active role once the active coordinator is gone.
    Standby,
}

/// An answer that says only that it was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nothing {}
