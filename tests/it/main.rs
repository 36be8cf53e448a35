//! Black-box tests: the real stack on loopback, over sockets.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::missing_panics_doc,
    clippy::wrong_self_convention,
    clippy::format_collect,
    reason = "a test that panics is a test that fails"
)]

mod support;

mod access_log;
mod admin;
mod architecture;
mod boundary;
mod budget;
mod commands;
mod config;
mod contract;
mod credential;
mod demo;
mod discovery;
mod floods;
mod forms;
mod forwarding;
mod fragment;
mod grpc;
mod hangup;
mod hostile;
mod identity;
mod inject;
mod key_rotation;
mod proxy_protocol;
mod redirects;
mod redis;
mod redis_forms;
mod redis_outage;
mod reload;
mod renewal;
mod rules;
mod secrets;
mod session;
mod sign_in;
mod sign_out;
mod streams;
mod supervision;
mod tls;
mod vitals;
mod wire_h1;
mod wire_h2;
