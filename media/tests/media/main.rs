//! The crate from outside, over synthetic pictures and sounds that it makes itself.

#![allow(clippy::unwrap_used)] // helpers beside the tests unwrap as tests do

mod captions;
mod clicks;
mod common;
mod errors;
mod fragments;
mod joining;
mod loudness;
mod masters;
mod outputs;
mod renditions;
mod segments;
mod sounds;
mod sources;
mod speed;
mod stills;
