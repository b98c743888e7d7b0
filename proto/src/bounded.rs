//! Numbers and texts with bounds, which stand once: JSON, the API's document and the command line read them from the type.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An integer from `MIN` to `MAX`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bounded<T, const MIN: i64, const MAX: i64>(T);

/// A text that is outside the bounds of its type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("give {0}")]
pub struct BoundsError(String);

impl<T: Copy + Into<i64>, const MIN: i64, const MAX: i64> Bounded<T, MIN, MAX> {
    /// The smallest value.
    pub const MIN: i64 = MIN;
    /// The largest value.
    pub const MAX: i64 = MAX;

    /// The value, where it is inside the bounds.
    pub fn new(value: T) -> Option<Self> {
        (MIN..=MAX).contains(&value.into()).then_some(Self(value))
    }

    /// The value.
    pub fn get(self) -> T {
        self.0
    }
}

impl<T, const MIN: i64, const MAX: i64> Bounded<T, MIN, MAX> {
    fn expected() -> String {
        format!("an integer from {MIN} to {MAX}")
    }
}

impl<T: fmt::Display, const MIN: i64, const MAX: i64> fmt::Display for Bounded<T, MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Copy + Into<i64> + TryFrom<i64>, const MIN: i64, const MAX: i64> FromStr for Bounded<T, MIN, MAX> {
    type Err = BoundsError;

    fn from_str(text: &str) -> Result<Self, BoundsError> {
        let value = text.parse().ok().and_then(|value: i64| T::try_from(value).ok()).and_then(Self::new);
        value.ok_or_else(|| BoundsError(Self::expected()))
    }
}

impl<T: Copy + Into<i64>, const MIN: i64, const MAX: i64> Serialize for Bounded<T, MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0.into())
    }
}

impl<'de, T, const MIN: i64, const MAX: i64> Deserialize<'de> for Bounded<T, MIN, MAX>
where
    T: Copy + Into<i64> + TryFrom<i64>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected<T, const MIN: i64, const MAX: i64>(std::marker::PhantomData<T>);

        impl<T, const MIN: i64, const MAX: i64> Visitor<'_> for Expected<T, MIN, MAX>
        where
            T: Copy + Into<i64> + TryFrom<i64>,
        {
            type Value = Bounded<T, MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&Bounded::<T, MIN, MAX>::expected())
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                let bounded = T::try_from(value).ok().and_then(Bounded::new);
                bounded.ok_or_else(|| E::invalid_value(Unexpected::Signed(value), &self))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                let signed = i64::try_from(value).ok();
                let bounded = signed.and_then(|value| T::try_from(value).ok()).and_then(Bounded::new);
                bounded.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
            }

            // Values of a query are texts.
            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                Err(E::invalid_value(Unexpected::Str(value), &self))
            }
        }

        deserializer.deserialize_i64(Expected(std::marker::PhantomData))
    }
}

impl<T, const MIN: i64, const MAX: i64> JsonSchema for Bounded<T, MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Integer{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A text of at most `MAX` characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// The text, where it is short enough.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        Self::try_from(text.into()).ok()
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = BoundsError;

    fn try_from(text: String) -> Result<Self, BoundsError> {
        if text.chars().count() <= MAX {
            return Ok(Self(text));
        }
        Err(BoundsError(format!("text of at most {MAX} characters")))
    }
}

impl<const MAX: usize> FromStr for Text<MAX> {
    type Err = BoundsError;

    fn from_str(text: &str) -> Result<Self, BoundsError> {
        Self::try_from(text.to_owned())
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> String {
        text.0
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> JsonSchema for Text<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Text{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Level = Bounded<i32, -8, 8>;

    #[test]
    fn values_outside_the_bounds_are_refused_with_the_bounds() {
        assert_eq!("-8".parse::<Level>().unwrap().get(), -8);
        assert_eq!("9".parse::<Level>().unwrap_err().to_string(), "give an integer from -8 to 8");
        assert_eq!(serde_json::from_str::<Level>("8").unwrap(), Level::new(8).unwrap());
        for bad in ["9", "-9", "1.5", "\"1\"", "18446744073709551615"] {
            let error = serde_json::from_str::<Level>(bad).unwrap_err().to_string();
            assert!(error.contains("expected an integer from -8 to 8"), "{error}");
        }
        assert_eq!(Level::new(9), None);
    }

    #[test]
    fn texts_are_counted_in_characters() {
        assert_eq!(&*serde_json::from_str::<Text<2>>("\"éé\"").unwrap(), "éé");
        let error = serde_json::from_str::<Text<2>>("\"éée\"").unwrap_err().to_string();
        assert!(error.contains("text of at most 2 characters"), "{error}");
    }
}
