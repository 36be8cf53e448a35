//! Tokens shaped and sized like Entra's, made of nothing real.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

/// Numbers that look random and are the same on every run (`SplitMix64`).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn octets(&mut self, count: usize) -> Vec<u8> {
        let next = || {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)).to_le_bytes()
        };
        std::iter::repeat_with(next).take(count.div_ceil(8)).flatten().take(count).collect()
    }

    pub(crate) fn text(&mut self, octets: usize) -> String {
        URL_SAFE_NO_PAD.encode(self.octets(octets))
    }

    pub(crate) fn guid(&mut self) -> String {
        let number =
            self.octets(16).iter().fold(0_u128, |number, octet| number << 8 | u128::from(*octet));
        let hex = format!("{number:032x}");
        let at = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
        [at(0, 8), at(8, 12), at(12, 16), at(16, 20), at(20, 32)].join("-")
    }
}

/// One user of one tenant, with tokens for one app.
pub(crate) struct Sample {
    pub(crate) access_token: String,
    pub(crate) id_token: String,
    pub(crate) refresh_token: String,
    pub(crate) claims: Map<String, Value>,
    pub(crate) scope: String,
}

fn aio(dice: &mut Dice) -> String {
    format!("A{}==", dice.text(69).chars().take(93).collect::<String>())
}

/// Which access token.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Microsoft Graph's: version 1, 35 claims.
    Graph,
    /// The app's own API, version 2.
    OwnApi,
}

impl Sample {
    /// A user in so many groups. The refresh token is 1,287 characters, as one was seen.
    pub(crate) fn new(shape: Shape, groups: usize, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let (tenant, user, app) = (dice.guid(), dice.guid(), dice.guid());
        let groups: Vec<String> = (0..groups).map(|_| dice.guid()).collect();
        let (kid, sid) = (dice.text(20), dice.guid());
        let upn = "AdeleV@contoso.onmicrosoft.com";
        let subject = dice.text(32);
        // Entra's is a message of user, tenant, name and a few octets more, all in clear.
        let hint = format!("\n${user}\u{12}${tenant}\u{1a}\u{1e}{upn} {}", dice.text(9));
        let login_hint = format!("O.{}", URL_SAFE_NO_PAD.encode(hint));
        let rh = format!("1.A{}AAAA.", dice.text(32));
        let now = 1_790_000_000 + seed % 1_000_000;
        let name = "Adele Vance";
        let list = serde_json::to_string(&groups).unwrap_or_default();
        let list = if groups.is_empty() { String::new() } else { format!(",\"groups\":{list}") };
        let exp = now + 4_684;

        let id_payload = format!(
            "{{\"aud\":\"{app}\",\"iss\":\"https://login.microsoftonline.com/{tenant}/v2.0\",\
             \"iat\":{now},\"nbf\":{now},\"exp\":{},\"aio\":\"{}\",\"auth_time\":{}{list},\
             \"email\":\"{upn}\",\"login_hint\":\"{login_hint}\",\"name\":\"{name}\",\
             \"nonce\":\"{}\",\"oid\":\"{user}\",\"preferred_username\":\"{upn}\",\"rh\":\"{rh}\",\
             \"roles\":[\"Reports.Read\",\"Orders.Approve\"],\"sid\":\"{sid}\",\
             \"sub\":\"{subject}\",\"tid\":\"{tenant}\",\"uti\":\"{}\",\"ver\":\"2.0\"}}",
            now + 3_600,
            aio(&mut dice),
            now - 12,
            dice.text(32),
            dice.text(16),
        );
        let id_header = format!("{{\"typ\":\"JWT\",\"alg\":\"RS256\",\"kid\":\"{kid}\"}}");
        let (header, payload, scope) = match shape {
            Shape::Graph => (
                format!(
                    "{{\"typ\":\"JWT\",\"nonce\":\"{}\",\"alg\":\"RS256\",\"x5t\":\"{kid}\",\
                     \"kid\":\"{kid}\"}}",
                    dice.text(32)
                ),
                format!(
                    "{{\"aud\":\"00000003-0000-0000-c000-000000000000\",\
                     \"iss\":\"https://sts.windows.net/{tenant}/\",\"iat\":{now},\"nbf\":{now},\
                     \"exp\":{exp},\"acct\":0,\"acr\":\"1\",\"acrs\":[\"p1\"],\"aio\":\"{}\",\
                     \"amr\":[\"pwd\",\"mfa\"],\"app_displayname\":\"Contoso Reports\",\
                     \"appid\":\"{app}\",\"appidacr\":\"1\",\"family_name\":\"Vance\",\
                     \"given_name\":\"Adele\",\"idtyp\":\"user\",\"ipaddr\":\"203.0.113.7\",\
                     \"name\":\"{name}\",\"oid\":\"{user}\",\"platf\":\"3\",\
                     \"puid\":\"10032001ABCDEF12\",\"rh\":\"{rh}\",\
                     \"scp\":\"email openid profile User.Read\",\"sid\":\"{sid}\",\
                     \"signin_state\":[\"kmsi\"],\"sub\":\"{}\",\"tenant_region_scope\":\"EU\",\
                     \"tid\":\"{tenant}\",\"unique_name\":\"{upn}\",\"upn\":\"{upn}\",\
                     \"uti\":\"{}\",\"ver\":\"1.0\",\
                     \"wids\":[\"b79fbf4d-3ef9-4689-8143-76b194e85509\"],\"xms_ftd\":\"{}\",\
                     \"xms_idrel\":\"1 24\",\"xms_st\":{{\"sub\":\"{subject}\"}},\
                     \"xms_tcdt\":1583172310,\"xms_tdbr\":\"EU\"}}",
                    aio(&mut dice),
                    dice.text(32),
                    dice.text(16),
                    dice.text(42),
                ),
                "email openid profile User.Read".to_owned(),
            ),
            Shape::OwnApi => (
                id_header.clone(),
                format!(
                    "{{\"aud\":\"{app}\",\"iss\":\"https://login.microsoftonline.com/{tenant}/v2.0\",\
                     \"iat\":{now},\"nbf\":{now},\"exp\":{exp},\"aio\":\"{}\",\"azp\":\"{app}\",\
                     \"azpacr\":\"1\"{list},\"name\":\"{name}\",\"oid\":\"{user}\",\
                     \"preferred_username\":\"{upn}\",\"rh\":\"{rh}\",\"roles\":[\"Reports.Read\"],\
                     \"scp\":\"access_as_user\",\"sid\":\"{sid}\",\"sub\":\"{subject}\",\
                     \"tid\":\"{tenant}\",\"uti\":\"{}\",\"ver\":\"2.0\",\"xms_ftd\":\"{}\"}}",
                    aio(&mut dice),
                    dice.text(16),
                    dice.text(42),
                ),
                format!("openid profile api://{app}/access_as_user"),
            ),
        };
        let mut token = |header: &str, payload: &str| {
            let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
            format!("{header}.{payload}.{}", dice.text(256))
        };
        let access_token = token(&header, &payload);
        let id_token = token(&id_header, &id_payload);
        let claims = json!({
            "auth_time": now - 12, "email": upn, "groups": groups, "login_hint": login_hint,
            "name": name, "oid": user, "preferred_username": upn,
            "roles": ["Reports.Read", "Orders.Approve"], "sid": sid, "sub": subject,
            "tid": tenant,
        });
        let claims = match claims {
            Value::Object(claims) => claims,
            _ => Map::new(),
        };
        let refresh_token = format!("1.{}.{}", dice.text(51), dice.text(912));
        Self { access_token, id_token, refresh_token, claims, scope }
    }
}
