//! Frames a second, as clients of the hosted service know it.

use std::borrow::Cow;

use hyperfarm_proto::frame::FrameRate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Frames a second: an integer where it is one, as the hosted service has it, else the fraction as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fps {
    /// Frames a second.
    Whole(u32),
    /// Such as `30000/1001`.
    Fraction(String),
}

impl JsonSchema for Fps {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Fps".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"] })
    }
}

impl From<FrameRate> for Fps {
    fn from(rate: FrameRate) -> Self {
        if rate.den() == 1 { Self::Whole(rate.num()) } else { Self::Fraction(rate.to_string()) }
    }
}
