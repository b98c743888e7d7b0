//! The work of a scenario: its renders and the times of their chunks, drawn by its seed.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use hyperfarm_proto::id::{IdError, RenderId, Space};

use super::scenario::{RenderGroup, Scenario};

/// A space.
#[derive(Debug)]
pub(super) struct SimulatedSpace {
    pub(super) name: Space,
    pub(super) weight: NonZeroU32,
}

/// A chunk.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// Seconds that it takes on a worker of speed 1.
    pub(super) seconds: f64,
    /// Number of slots that are at it.
    pub(super) running: u32,
    pub(super) is_committed: bool,
}

/// A render.
#[derive(Debug)]
pub(super) struct SimulatedRender {
    pub(super) id: RenderId,
    /// Index of its space.
    pub(super) space: usize,
    pub(super) priority: i32,
    /// When it is submitted, in microseconds.
    pub(super) submitted_us: u64,
    /// When its first chunk began.
    pub(super) started_us: Option<u64>,
    pub(super) chunks: Vec<Chunk>,
}

/// All spaces and renders of a scenario.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) spaces: Vec<SimulatedSpace>,
    /// By the time of their submission.
    pub(super) renders: Vec<SimulatedRender>,
}

impl Work {
    /// Draws the work of `scenario`.
    pub(super) fn draw(scenario: &Scenario) -> Result<Self, IdError> {
        let mut random = fastrand::Rng::with_seed(scenario.seed);
        let (mut spaces, mut renders) = (Vec::new(), Vec::new());
        for group in &scenario.spaces {
            for _ in 0..group.count {
                let name = format!("space-{}", spaces.len()).parse()?;
                for of_group in &group.renders {
                    draw_renders(of_group, spaces.len(), &mut random, &mut renders);
                }
                spaces.push(SimulatedSpace { name, weight: NonZeroU32::new(group.weight).unwrap_or(NonZeroU32::MIN) });
            }
        }
        renders.sort_by_key(|render| render.submitted_us);
        for (number, render) in renders.iter_mut().enumerate() {
            render.id = RenderId::from_parts(render.submitted_us / 1000, number as u64);
        }
        Ok(Self { spaces, renders })
    }

    /// The weights of the spaces.
    pub(super) fn weights(&self) -> BTreeMap<Space, NonZeroU32> {
        self.spaces.iter().map(|space| (space.name.clone(), space.weight)).collect()
    }

    /// Number of chunks.
    pub(super) fn chunks(&self) -> usize {
        self.renders.iter().map(|render| render.chunks.len()).sum()
    }

    /// The median time of a chunk in seconds.
    pub(super) fn median_seconds(&self) -> f64 {
        let mut times: Vec<f64> = self.chunk_seconds().collect();
        let middle = times.len() / 2;
        if times.is_empty() { 0.0 } else { *times.select_nth_unstable_by(middle, f64::total_cmp).1 }
    }

    fn chunk_seconds(&self) -> impl Iterator<Item = f64> {
        self.renders.iter().flat_map(|render| render.chunks.iter().map(|chunk| chunk.seconds))
    }

    /// A time in seconds before which no farm with these workers can have done all of it: they work without a pause, no
    /// attempt fails, and no chunk takes longer than its own time on the fastest of them. Infinite where they leave
    /// before.
    pub(super) fn lower_bound(&self, scenario: &Scenario) -> f64 {
        // Changes of the capacity, in chunk seconds a second, and of the work, in chunk seconds.
        let mut changes: Vec<(f64, f64, f64)> = Vec::new();
        for group in &scenario.nodes {
            let capacity = f64::from(group.count) * f64::from(group.slots) * group.speed;
            changes.push((group.joins_seconds, capacity, 0.0));
            changes.extend(group.leaves_seconds.map(|leaves| (leaves, -capacity, 0.0)));
        }
        let fastest = scenario.nodes.iter().map(|group| group.speed).fold(0.01, f64::max);
        let mut bound = 0.0_f64;
        for render in &self.renders {
            let submitted = render.submitted_us as f64 / 1e6;
            let times = render.chunks.iter().map(|chunk| chunk.seconds);
            changes.push((submitted, 0.0, times.clone().sum()));
            bound = bound.max(submitted + times.fold(0.0, f64::max) / fastest);
        }
        changes.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (mut now, mut capacity, mut left) = (0.0, 0.0_f64, 0.0_f64);
        for (at, more_capacity, more_work) in changes {
            left = (left - capacity * (at - now)).max(0.0);
            (now, capacity) = (at, capacity + more_capacity);
            left += more_work;
        }
        if left > 0.0 {
            bound = bound.max(if capacity > 1e-9 { now + left / capacity } else { f64::INFINITY });
        }
        bound
    }
}

fn draw_renders(group: &RenderGroup, space: usize, random: &mut fastrand::Rng, renders: &mut Vec<SimulatedRender>) {
    let mut at = group.first_seconds;
    for number in 0..group.count {
        if number > 0 && group.every_seconds > 0.0 {
            at += -(1.0 - random.f64()).ln() * group.every_seconds;
        }
        let chunks = (0..group.chunks).map(|_| {
            let seconds = group.chunk_seconds * (group.chunk_spread * normal(random)).exp();
            Chunk { seconds, running: 0, is_committed: false }
        });
        renders.push(SimulatedRender {
            // Its id is given once all renders are in the order of their submission.
            id: RenderId::from_parts(0, renders.len() as u64),
            space,
            priority: group.priority,
            submitted_us: (at * 1e6) as u64,
            started_us: None,
            chunks: chunks.collect(),
        });
    }
}

/// A number of the standard normal distribution, by Box and Muller.
fn normal(random: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Scenario {
        Scenario::parse(text).unwrap()
    }

    const TWO_AT_ONCE: &str = "
        nodes = [{ count = 2, slots = 5, speed = 2.0 }]
        [[spaces]]
        count = 3
        renders = [{ count = 2, chunks = 100, chunk_seconds = 10 }]
    ";

    #[test]
    fn the_bound_is_the_work_by_the_capacity_or_the_longest_chunk() {
        let bound = |scenario: &Scenario| Work::draw(scenario).unwrap().lower_bound(scenario);
        assert_eq!(bound(&scenario(TWO_AT_ONCE)), 300.0, "600 chunks of 10 s, 10 slots of twice the speed");
        assert_eq!(bound(&scenario(&TWO_AT_ONCE.replace("chunks = 100", "chunks = 1"))), 5.0, "a chunk on a slot");
        let late = TWO_AT_ONCE.replace("chunk_seconds", "first_seconds = 50, chunk_seconds");
        assert_eq!(bound(&scenario(&late)), 350.0);
        let leaving = TWO_AT_ONCE.replace("speed = 2.0", "speed = 2.0, leaves_seconds = 20");
        assert_eq!(bound(&scenario(&leaving)), f64::INFINITY);
    }

    #[test]
    fn a_seed_gives_the_same_work_each_time() {
        let spread =
            TWO_AT_ONCE.replace("chunk_seconds = 10", "chunk_seconds = 10, chunk_spread = 0.4, every_seconds = 3");
        let drawn = |seed: u64| {
            let work = Work::draw(&scenario(&format!("seed = {seed}\n{spread}"))).unwrap();
            (work.renders.iter().map(|render| render.submitted_us).collect::<Vec<_>>(), work.median_seconds())
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!((drawn(1).1 - 10.0).abs() < 1.0, "{}", drawn(1).1);
    }
}
