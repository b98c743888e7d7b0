//! The published HyperFrames CLI and hyperfarm beside each other, measured.
//!
//! | what | where |
//! | --- | --- |
//! | both renderers in turn over a set of compositions | [`compare`] |
//! | frames a second without an encoder | [`capture`] |
//! | cost a frame and memory against the length | [`length`] |
//! | time, processor time and memory of a command with everything it starts | [`meter`] |
//! | PSNR and SSIM against a lossless capture | [`quality`] |
//! | compositions, and the project as both sides get it | [`compositions`] |
//! | the API under load | [`load`] |
//! | the worker's stages without a farm around them | [`stages`] |
//! | the table, the chart, the files they go to | [`report`], [`chart`], [`pages`] |

mod capture;
mod chart;
mod compare;
mod compositions;
mod length;
mod load;
mod meter;
mod pages;
mod quality;
mod report;
mod stages;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures hyperfarm, beside the published HyperFrames CLI and alone")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The published CLI and hyperfarm in turn.
    Compare(compare::CompareArgs),
    /// Frames a second that are captured without an encoder, beside a walk that reads nothing.
    Capture(capture::CaptureArgs),
    /// Cost a frame and memory of the same content at 1, 10 and 60 minutes.
    Length(length::LengthArgs),
    /// Submissions and polls a second while renders run, beside a handler that does nothing.
    Load(load::LoadArgs),
    /// A handler that does nothing.
    #[command(hide = true)]
    Nothing,
    /// The compositions there are.
    List,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.what {
        What::Compare(args) => compare::run(&args),
        What::Capture(args) => capture::run(&args),
        What::Length(args) => length::run(&args),
        What::Load(args) => load::run(&args),
        What::Nothing => load::nothing(),
        What::List => compositions::list(),
    }
}
