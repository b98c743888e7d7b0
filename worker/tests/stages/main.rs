//! The worker's stages over a backplane in memory and a real Chrome: the test plays the coordinator.

#![allow(clippy::unwrap_used)]

mod animations;
mod clock;
mod farm;
mod frames;
mod input;
mod network;
mod sound;
mod time_sources;
