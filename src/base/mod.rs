//! Small things without opinions. Nothing here knows what the proxy is for.

pub mod body;
pub mod causes;
pub mod clock;
pub mod core_dump;
pub mod document;
pub mod jose;
pub mod leash;
pub mod lifecycle;
pub mod metrics;
pub mod outbound;
pub mod pem;
mod process;
pub mod pulse;
pub mod replica;
pub mod secret;
pub mod service_manager;
pub mod side_server;
pub mod stream;
pub mod telemetry;
pub mod units;
pub mod watched_file;
pub mod worker;
pub mod x509;
