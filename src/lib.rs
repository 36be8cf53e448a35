//! Vestibule stands in front of one web app and signs its users in with Microsoft Entra ID.
//!
//! A module uses modules of lower steps only; modules on one step do not know each other; towers
//! stand on [`base`] alone, and only [`commands`] enters them. A test holds the code to that.
//!
//! The way of a request is one function, `Gateway::answer`. Its order is the security policy:
//!
//! 1. *Read once.* The target that the rules judge is the target that the app gets; whatever two
//!    parsers could read differently is refused.
//! 2. *Strip.* Headers that tell the app who the user is are taken out of every request, on every
//!    path, before anything is decided.
//! 3. *Our own URLs* are answered here and never by the app.
//! 4. *Decide.* The first rule that matches says who may pass; no rule means: signed in.
//! 5. *Assert.* The user's identity and access token are put in, and the request goes to the app.

pub mod commands;

pub mod app;

pub mod config;

pub mod admin;
pub mod server;

pub mod gateway;

pub mod identity;
pub mod rules;
pub mod sign_in;

pub mod session;
pub mod upstream;

pub mod entra;
pub mod sealing;

pub mod pages;
pub mod request;

pub mod base;

pub mod emulator;
pub mod kubernetes;
