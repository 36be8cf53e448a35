//! What the tests stand on.

mod app;
mod browser;
mod fixture;
pub mod h2;
mod program;
pub mod provider;
mod redis;
mod stack;
mod step;
mod web_socket;

pub use self::{
    app::{App, Recorded},
    browser::{Browser, FETCH, NAVIGATE, NAVIGATE_SAME, Page},
    fixture::{Fixture, KEY},
    program::{Ended, Running, config_file, free_port, vestibule},
    redis::Redis,
    stack::{ALICE, Setup, Stack, scratch_file},
    step::StepPage,
    web_socket::{WebSocket, read_frame},
};
