//! Microsoft Entra ID, emulated: for tests, for the demo, and for other people's clients.
//!
//! Written from Microsoft's documents and never from our own client, so that the two cannot agree
//! on a mistake. Paths, parameters, errors, claims and sizes are Entra's; whatever the emulator
//! says about itself derives from the origin by which it is reached.
//!
//! A request goes through `routes`: a waiting fault is looked up, then a room answers
//! (`metadata`, `authorize`, `token`, `sign_out`, `graph`), then the fault may bend the
//! answer. `realm` holds what is known and remembered.

mod aadsts;
mod account_choice;
mod administration;
mod assertion;
mod authorize;
mod browser;
mod call;
mod claims;
mod client_auth;
mod consent;
mod directory;
mod faults;
mod grants;
mod graph;
mod ids;
mod issue;
mod metadata;
mod mutations;
mod on_behalf_of;
mod pages;
mod population;
mod realm;
mod request_log;
mod routes;
mod scenario;
mod scopes;
mod scripted;
mod send_back;
mod sign_out;
mod signing;
mod start;
mod timestamp;
mod tls;
mod token;

#[cfg(test)]
mod tests;

pub use faults::{CallbackFault, Endpoint, Fault, IdTokenFault};
pub use population::ScenarioError;
pub use request_log::LoggedRequest;
pub use scenario::{
    AppEntry, FederatedEntry, GroupEntry, RoleEntry, Scenario, TenantEntry, UserEntry,
};
pub use signing::KeyError;
pub use start::{ClientDetails, Emulator, EmulatorError, Options};
pub use tls::TlsError;
