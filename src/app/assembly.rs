//! From one configuration to one [`Gateway`].

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::vitals::Vitals;
use crate::{
    base::{
        clock::Clock, lifecycle::Lifecycle, metrics::Metrics, outbound::Outbound, units::ByteSize,
    },
    config::{Config, files_of},
    entra::{self, EntraClient},
    gateway::{self, Gateway},
    identity::{Identity, IdentityError},
    pages::{Pages, PagesError},
    request::{PublicUrl, Reader},
    rules::{RuleError, Rules},
    sealing::{Binding, KeyError, Keyring},
    server::Tls,
    session::{self, Flights, KeysError, RevokedSessions, Sessions, Streams, TokenShelf},
    sign_in::{self, CALLBACK, SignIn},
    upstream::{self, Upstream},
};

/// Why a configuration does not fit together.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// `server.public_url` is missing.
    #[error("server.public_url is missing")]
    NoPublicUrl,
    /// `[entra]`.
    #[error("[entra] cannot be used")]
    Entra(#[from] entra::SettingsError),
    /// `session.keys`.
    #[error("session.keys cannot be used")]
    Keys(#[from] KeysError),
    /// A key is there twice.
    #[error("session.keys cannot be used")]
    Keyring(#[from] KeyError),
    /// `session.redis_url`.
    #[error("session.redis_url cannot be used")]
    Redis(#[from] session::StoreSettingsError),
    /// `[[rules]]`.
    #[error("[[rules]] cannot be used")]
    Rules(#[from] RuleError),
    /// `[identity]`.
    #[error("[identity] cannot be used")]
    Identity(#[from] IdentityError),
    /// `[upstream]`.
    #[error("[upstream] cannot be used")]
    Upstream(#[from] upstream::BuildError),
    /// Our own templates.
    #[error("the built-in pages are broken")]
    Pages(#[from] PagesError),
}

/// What outlives every configuration.
#[derive(Debug)]
pub(super) struct Lasting {
    pub(super) outbound: Outbound,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) lifecycle: Lifecycle,
    /// Threads that serve: as many pools are needed, whatever a changed configuration says.
    pub(super) workers: usize,
    /// What browsers are shown, where we end TLS.
    pub(super) tls: Option<Tls>,
    /// Sessions that were ended stay ended.
    pub(super) revoked: Arc<RevokedSessions>,
    /// Streams that are open follow their session into the next configuration.
    pub(super) streams: Arc<Streams>,
    /// Renewals under way are not begun a second time.
    pub(super) flights: Arc<Flights>,
}

/// One configuration, put together.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) config: Config,
    pub(super) gateway: Arc<Gateway>,
    pub(super) entra: Arc<EntraClient>,
    /// Ends the background fetches of `entra`.
    pub(super) stop_fetching: CancellationToken,
    pub(super) memory: Memory,
    pub(super) upstream: Arc<Upstream>,
    pub(super) vitals: Vitals,
}

/// What this replica knows of sessions, with what it was made for.
#[derive(Debug)]
pub(super) struct Memory {
    keyring: Arc<Keyring>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) shelf: Arc<TokenShelf>,
    wanted: Wanted,
}

/// What other sections want of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    keep_id_token: bool,
    named_groups: BTreeSet<String>,
}

/// What a new configuration replaces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Former<'a> {
    pub(super) assembled: &'a Assembled,
    /// Files whose content is not what it was.
    pub(super) changed: &'a BTreeSet<PathBuf>,
}

impl Former<'_> {
    /// Whether a section, and every file that it names, is what it was.
    fn is_same<S: PartialEq + Serialize>(&self, was: &S, is: &S) -> bool {
        was == is && files_of(is).is_disjoint(self.changed)
    }
}

/// Puts a gateway together. Nothing is reached over the network. What a changed configuration says
/// the same about is taken over from the `former` one: caches stay warm, connections open.
///
/// # Errors
/// See [`AssemblyError`].
pub(super) fn assemble(
    config: Config,
    lasting: &Lasting,
    former: Option<Former<'_>>,
) -> Result<Assembled, AssemblyError> {
    let Lasting { clock, metrics, .. } = lasting;
    let public_url = config.server.public_url.clone().ok_or(AssemblyError::NoPublicUrl)?;
    let (entra, stop_fetching) = entra(&config, &public_url, lasting, former)?;
    let identity = Identity::build(config.identity.clone(), &public_url)?;
    let rules = Rules::build(config.rules.clone(), entra.single_tenant())?;
    let wanted =
        Wanted { keep_id_token: identity.needs_id_token(), named_groups: rules.group_ids_named() };
    let memory = memory(&config, &public_url, &entra, wanted, lasting, former)?;
    let Memory { keyring, sessions, .. } = &memory;
    // The sign-out button is answered by a redirect to Microsoft.
    let pages = Arc::new(Pages::new()?.leading_to(&entra.login_host_origin())?);
    let sign_in = SignIn::new(sign_in::Parts {
        entra: Arc::clone(&entra),
        keyring: Arc::clone(keyring),
        sessions: Arc::clone(sessions),
        pages: Arc::clone(&pages),
        public_url: public_url.clone(),
        form_limit: config.session.form_limit.bytes(),
        keep_fragment: config.session.keep_fragment,
        clock: clock.clone(),
        metrics: metrics.clone(),
    });
    let upstream = upstream(&config, lasting, former)?;
    let trusted = config.server.trusted_proxies.clone();
    let reader = Reader::new(public_url.clone(), trusted, config.session.cookie.clone())
        .with_most_fields(config.server.limits.headers);
    let gateway = Gateway::new(gateway::Parts {
        reader,
        rules,
        identity,
        sign_in,
        upstream: Arc::clone(&upstream),
        sessions: Arc::clone(sessions),
        pages,
        public_url,
        log_user: config.log.user,
        body_time: config.server.limits.body_time.duration(),
        body_bytes: config.server.limits.body_bytes.map(ByteSize::bytes),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });
    let gateway = Arc::new(gateway);
    let vitals = Vitals::of(&config, &memory.keyring);
    Ok(Assembled { config, gateway, entra, stop_fetching, memory, upstream, vitals })
}

/// The sessions of the former configuration, opened ones and all, where nothing about them has
/// changed; new ones otherwise. Keys that are gone must open nothing any more, cached or not.
fn memory(
    config: &Config,
    public_url: &PublicUrl,
    entra: &Arc<EntraClient>,
    wanted: Wanted,
    lasting: &Lasting,
    former: Option<Former<'_>>,
) -> Result<Memory, AssemblyError> {
    let kept = former.filter(|former| {
        let was = former.assembled;
        // Keys and client are bound to the public URL alike.
        Arc::ptr_eq(&was.entra, entra)
            && was.memory.wanted == wanted
            && former.is_same(&was.config.session, &config.session)
    });
    if let Some(Former { assembled: Assembled { memory, .. }, .. }) = kept {
        let (keyring, sessions) = (Arc::clone(&memory.keyring), Arc::clone(&memory.sessions));
        return Ok(Memory { keyring, sessions, shelf: Arc::clone(&memory.shelf), wanted });
    }
    let binding = Binding {
        origin: public_url.origin().to_owned(),
        client_id: entra.client_id().to_owned(),
        tenant: entra.tenant().to_owned(),
    };
    let mut keyring = Keyring::new(config.session.read_keys()?, binding)?;
    if let Some(former) = former {
        keyring = keyring.following(&former.assembled.memory.keyring, lasting.clock.clone());
        prolong_revocations(&lasting.revoked, &former.assembled.config, config);
    }
    let keyring = Arc::new(keyring);
    let room = config.session.token_cache;
    let same_room = |former: &Former<'_>| former.assembled.config.session.token_cache == room;
    let shelf = match former.filter(same_room) {
        Some(former) => Arc::clone(&former.assembled.memory.shelf),
        None => Arc::new(TokenShelf::new(room, lasting.metrics.clone())),
    };
    let parts = session::Parts {
        keyring: Arc::clone(&keyring),
        entra: Arc::clone(entra),
        runtime: lasting.outbound.runtime().clone(),
        keep_id_token: wanted.keep_id_token,
        named_groups: wanted.named_groups.clone(),
        redis: config.session.redis()?,
        shelf: Arc::clone(&shelf),
        flights: Arc::clone(&lasting.flights),
        revoked: Arc::clone(&lasting.revoked),
        streams: Arc::clone(&lasting.streams),
        clock: lasting.clock.clone(),
        metrics: lasting.metrics.clone(),
    };
    let sessions = Arc::new(Sessions::new(&config.session, parts));
    Ok(Memory { keyring, sessions, shelf, wanted })
}

/// A session that was ended must not live again because sessions now live longer.
fn prolong_revocations(revoked: &RevokedSessions, was: &Config, is: &Config) {
    let (was, is) = (was.session.lifetime.duration(), is.session.lifetime.duration());
    let longer = is.saturating_sub(was).as_secs();
    revoked.prolong(i64::try_from(longer).unwrap_or(i64::MAX));
}

fn entra(
    config: &Config,
    public_url: &PublicUrl,
    lasting: &Lasting,
    former: Option<Former<'_>>,
) -> Result<(Arc<EntraClient>, CancellationToken), AssemblyError> {
    if let Some(former) = former
        && former.assembled.config.server.public_url.as_ref() == Some(public_url)
        && former.is_same(&former.assembled.config.entra, &config.entra)
    {
        let was = former.assembled;
        return Ok((Arc::clone(&was.entra), was.stop_fetching.clone()));
    }
    let client = EntraClient::new(
        &config.entra,
        public_url.join(CALLBACK),
        lasting.outbound.clone(),
        lasting.clock.clone(),
        lasting.metrics.clone(),
    )?;
    if let Some(former) = former {
        client.adopt(&former.assembled.entra);
    }
    Ok((Arc::new(client), lasting.lifecycle.aborting().child_token()))
}

fn upstream(
    config: &Config,
    lasting: &Lasting,
    former: Option<Former<'_>>,
) -> Result<Arc<Upstream>, AssemblyError> {
    if let Some(former) = former
        && former.is_same(&former.assembled.config.upstream, &config.upstream)
    {
        return Ok(Arc::clone(&former.assembled.upstream));
    }
    let (lifecycle, metrics) = (lasting.lifecycle.clone(), lasting.metrics.clone());
    Ok(Arc::new(Upstream::build(&config.upstream, lasting.workers, lifecycle, metrics)?))
}
