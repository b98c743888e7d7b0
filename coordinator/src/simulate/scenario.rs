//! What is simulated, as a TOML file says it.

use serde::Deserialize;

/// Most slots of a scenario.
const MAX_SLOTS: u64 = 100_000;
/// Most chunks of a scenario.
const MAX_CHUNKS: u64 = 10_000_000;

/// A farm and the work that it is given. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Seed of everything that is drawn at random. The same scenario has the same result each time.
    #[serde(default)]
    pub seed: u64,
    /// Simulated time after which the simulation ends, whatever is left.
    #[serde(default = "default_limit")]
    pub limit_seconds: f64,
    /// Share of attempts, from 0 to 1, that fail by a fault of the farm at some moment of their time.
    #[serde(default)]
    pub failure_rate: f64,
    /// Share of attempts, from 0 to 1, that take longer than others.
    #[serde(default)]
    pub straggler_rate: f64,
    /// How many times as long a straggling attempt takes.
    #[serde(default = "default_straggler_factor")]
    pub straggler_factor: f64,
    /// The workers.
    pub nodes: Vec<NodeGroup>,
    /// Who submits renders.
    pub spaces: Vec<SpaceGroup>,
}

/// Workers that are alike.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeGroup {
    /// Number of workers.
    pub count: u32,
    /// Slots of each.
    pub slots: u32,
    /// How many times as fast as a worker of speed 1 it renders.
    #[serde(default = "default_one")]
    pub speed: f64,
    /// When they join the farm.
    #[serde(default)]
    pub joins_seconds: f64,
    /// When they leave it.
    pub leaves_seconds: Option<f64>,
    /// Whether they leave without a word, in the middle of their tasks. Otherwise they finish these first.
    #[serde(default)]
    pub crash: bool,
}

/// Spaces that are alike.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpaceGroup {
    /// Number of spaces.
    #[serde(default = "default_count")]
    pub count: u32,
    /// Weight of each in the sharing of slots.
    #[serde(default = "default_count")]
    pub weight: u32,
    /// What each submits.
    pub renders: Vec<RenderGroup>,
}

/// Renders that are alike.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenderGroup {
    /// Number of renders of each space.
    #[serde(default = "default_count")]
    pub count: u32,
    /// When the first one is submitted.
    #[serde(default)]
    pub first_seconds: f64,
    /// Mean time between two submissions, which is exponentially distributed; 0: all are submitted at once.
    #[serde(default)]
    pub every_seconds: f64,
    /// Priority of each, from -100 to 100.
    #[serde(default)]
    pub priority: i32,
    /// Chunks of each.
    pub chunks: u32,
    /// Median time of a chunk on a worker of speed 1.
    pub chunk_seconds: f64,
    /// How far the times of chunks are apart: the standard deviation of the time's logarithm. 0: all take the median.
    #[serde(default)]
    pub chunk_spread: f64,
}

fn default_limit() -> f64 {
    7.0 * 24.0 * 3600.0
}

fn default_straggler_factor() -> f64 {
    4.0
}

fn default_one() -> f64 {
    1.0
}

fn default_count() -> u32 {
    1
}

/// Why a scenario cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is no TOML, or a field is unknown, missing or of another type.
    #[error("the scenario cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A value is out of its range.
    #[error("`{field}` is {value}; it must be {expected}")]
    Value {
        /// Path of the field.
        field: String,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// Checks that `value` is in `range`, which `expected` says in words.
fn within<T: PartialOrd + ToString>(
    field: impl Into<String>,
    value: T,
    range: std::ops::RangeInclusive<T>,
    expected: &'static str,
) -> Result<(), ScenarioError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ScenarioError::Value { field: field.into(), value: value.to_string(), expected })
}

const A_COUNT: &str = "a whole number from 1 to 1000000";
const A_TIME: &str = "a number of seconds from 0 to 100000000";
const LONGEST: f64 = 1e8;

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    ///
    /// It is no TOML, a field is unknown or missing, or a value is out of its range. The error names the field.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), ScenarioError> {
        within("limit_seconds", self.limit_seconds, 1.0..=LONGEST, "a number of seconds from 1 to 100000000")?;
        within("failure_rate", self.failure_rate, 0.0..=1.0, "a number from 0 to 1")?;
        within("straggler_rate", self.straggler_rate, 0.0..=1.0, "a number from 0 to 1")?;
        within("straggler_factor", self.straggler_factor, 1.0..=1000.0, "a number from 1 to 1000")?;
        within("nodes", self.nodes.len(), 1..=1000, "a list of 1 to 1000 groups of workers")?;
        within("spaces", self.spaces.len(), 1..=1000, "a list of 1 to 1000 groups of spaces")?;
        for (number, group) in self.nodes.iter().enumerate() {
            let field = |name: &str| format!("nodes[{number}].{name}");
            within(field("count"), group.count, 1..=1_000_000, A_COUNT)?;
            within(field("slots"), group.slots, 1..=1024, "a whole number from 1 to 1024")?;
            within(field("speed"), group.speed, 0.01..=100.0, "a number from 0.01 to 100")?;
            within(field("joins_seconds"), group.joins_seconds, 0.0..=LONGEST, A_TIME)?;
            if let Some(leaves) = group.leaves_seconds {
                let later = "a number of seconds, later than `joins_seconds`";
                within(field("leaves_seconds"), leaves, group.joins_seconds + 1e-3..=LONGEST, later)?;
            }
        }
        for (number, space) in self.spaces.iter().enumerate() {
            let field = |name: &str| format!("spaces[{number}].{name}");
            within(field("count"), space.count, 1..=1_000_000, A_COUNT)?;
            within(field("weight"), space.weight, 1..=1_000_000, A_COUNT)?;
            within(field("renders"), space.renders.len(), 1..=1000, "a list of 1 to 1000 groups of renders")?;
            for (index, group) in space.renders.iter().enumerate() {
                let field = |name: &str| format!("spaces[{number}].renders[{index}].{name}");
                within(field("count"), group.count, 1..=1_000_000, A_COUNT)?;
                within(field("first_seconds"), group.first_seconds, 0.0..=LONGEST, A_TIME)?;
                within(field("every_seconds"), group.every_seconds, 0.0..=LONGEST, A_TIME)?;
                within(field("priority"), group.priority, -100..=100, "a whole number from -100 to 100")?;
                within(field("chunks"), group.chunks, 1..=1_000_000, A_COUNT)?;
                let time = "a number of seconds from 0.01 to 100000";
                within(field("chunk_seconds"), group.chunk_seconds, 0.01..=1e5, time)?;
                within(field("chunk_spread"), group.chunk_spread, 0.0..=3.0, "a number from 0 to 3")?;
            }
        }
        within("nodes", self.slots(), 1..=MAX_SLOTS, "at most 100000 slots in all")?;
        within("spaces", self.chunks(), 1..=MAX_CHUNKS, "at most 10000000 chunks in all")
    }

    /// Slots of all workers.
    fn slots(&self) -> u64 {
        self.nodes.iter().map(|group| u64::from(group.count) * u64::from(group.slots)).sum()
    }

    /// Chunks of all renders.
    fn chunks(&self) -> u64 {
        let of = |space: &SpaceGroup| {
            let chunks = space.renders.iter().map(|group| u64::from(group.count).saturating_mul(group.chunks.into()));
            chunks.fold(0, u64::saturating_add).saturating_mul(space.count.into())
        };
        self.spaces.iter().map(of).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "
        [[nodes]]
        count = 2
        slots = 3
        [[spaces]]
        weight = 2
        [[spaces.renders]]
        chunks = 4
        chunk_seconds = 15
    ";

    #[test]
    fn what_is_not_said_has_a_default() {
        let scenario = Scenario::parse(SMALL).unwrap();
        assert_eq!((scenario.slots(), scenario.chunks(), scenario.seed), (6, 4, 0));
        assert_eq!((scenario.nodes[0].speed, scenario.spaces[0].renders[0].count), (1.0, 1));
    }

    #[test]
    fn errors_name_the_field() {
        for (from, to, named) in [
            ("weight = 2", "wieght = 2", "wieght"),
            ("count = 2", "count = \"x\"", "count"),
            ("slots = 3", "", "slots"),
            ("slots = 3", "slots = 0", "`nodes[0].slots` is 0; it must be"),
            ("weight = 2", "weight = 0", "`spaces[0].weight` is 0"),
            ("chunks = 4", "chunks = 0", "`spaces[0].renders[0].chunks` is 0"),
            ("chunk_seconds = 15", "chunk_seconds = nan", "`spaces[0].renders[0].chunk_seconds` is NaN"),
            ("slots = 3", "slots = 3\nleaves_seconds = 0", "later than `joins_seconds`"),
            ("count = 2", "count = 1000000", "at most 100000 slots"),
        ] {
            let error = Scenario::parse(&SMALL.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let error = Scenario::parse(&format!("failure_rate = 2.0\n{SMALL}")).unwrap_err().to_string();
        assert_eq!(error, "`failure_rate` is 2; it must be a number from 0 to 1");
    }
}
