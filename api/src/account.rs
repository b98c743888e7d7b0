//! The key's own account, and the process's health.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the key may do and has spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// The key's name.
    pub username: String,
    /// None.
    pub email: Option<String>,
    /// None.
    pub first_name: Option<String>,
    /// None.
    pub last_name: Option<String>,
    /// Always.
    pub billing_type: BillingType,
    /// What was spent, and what is left.
    pub usage_based: Spending,
    /// The tenant. An extension.
    pub space: String,
    /// The key. An extension.
    pub key_id: String,
    /// What the key may be used for. An extension.
    pub scopes: Vec<Scope>,
}

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
    /// The key's cap.
    pub spending_cap_usd: Option<f64>,
    /// None.
    pub included_credits: f64,
    /// US dollars left of the cap.
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Render, Self::Admin];

    /// Its name.
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

/// Health of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// `ok` or `ready`.
    pub status: String,
    /// The farm's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// An answer that says only that it was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nothing {}
