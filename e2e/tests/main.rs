//! The farm as a person meets it: real processes, real Chrome. In one program, so it is linked once.

mod api;
mod capture;
mod clients;
mod cluster;
mod command_line;
mod credentials;
mod dashboard;
mod docs;
mod documented;
mod embedded;
mod gpu;
mod hdr;
mod lipsync;
mod losses;
mod newcomers;
mod observe;
mod outputs;
mod parity;
mod presenter;
mod runtimes;
mod seams;
mod timings;
mod translation;
mod upgrade;
mod video;
mod webhooks;
