//! What deflate knows of Entra's tokens before it begins: names and constants, nothing of any
//! tenant.
//!
//! The text that is deflated has markers in place of everything random (see `text`), so whole
//! tokens are known but for names of people and apps. What is met most stands last, where
//! references to it are shortest.

/// Part of the wire format: never changed once released, only by a new version of it.
pub(super) const DICTIONARY: &[u8] = concat!(
    // Optional claims and what they are mostly set to.
    r#"","fwd":"","hasgroups":true,"vnet":"","ztdid":"","xms_pdl":"NAM","xms_tpl":"en","xms_pl":""#,
    r#"en","tenant_ctry":"US","ctry":"DE","pwd_url":"https://portal.microsoftonline.com/Change"#,
    r#"Password.aspx","pwd_exp":"","onprem_sid":"S-1-5-21-","in_corp":"true","xms_edov":true,"#,
    r#""amr":["pwd","rsa","fido","wia"],"verified_secondary_email":["","verified_primary_email":["","idp":"live.com","#,
    "\"idp\":\"https://sts.windows.net/\x01/\",\"deviceid\":\"\x01\",\"acrs\":[\"c1\",\"urn:user:",
    "registersecurityinfo\"],\"_claim_names\":{\"groups\":\"src1\"},\"_claim_sources\":{\"src1\":{",
    "\"endpoint\":\"https://graph.microsoft.com/v1.0/users/\x01/getMemberObjects\"}},",
    "\"xms_cc\":[\"cp1\"],#EXT#@outlook.com.onmicrosoft.com",
    // Graph's scopes.
    r#"Calendars.ReadWrite Mail.Send Mail.Read Files.Read.All Group.Read.All Sites.Read.All "#,
    r#"Directory.Read.All User.Read.All User.ReadBasic.All GroupMember.Read.All .default "#,
    r#"https://graph.microsoft.com/User.Read email offline_access openid profile"#,
    // An access token of version 1, for Graph.
    "{\"typ\":\"JWT\",\"nonce\":\"\x02\",\"alg\":\"RS256\",\"x5t\":\"\x02\",\"kid\":\"\x02\"}",
    "{\"aud\":\"https://graph.microsoft.com\",\"iss\":\"https://localhost:/\x01/\",\"iat\"",
    "{\"aud\":\"\x01\",\"iss\":\"http://127.0.0.1:/\x01/v2.0\",\"iat\":",
    "{\"aud\":\"api://\x01\",\"iss\":\"https://sts.windows.net/",
    "{\"aud\":\"\x01\",\"iss\":\"https://sts.windows.net/\x01/\",\"iat\":\x04,\"nbf\":\x04,\"exp\":",
    "\x04,\"acct\":0,\"acr\":\"1\",\"acrs\":[\"p1\"],\"aio\":\"\x03==\",\"amr\":[\"pwd\",\"mfa\"],",
    "\"app_displayname\":\"\",\"appid\":\"\x01\",\"appidacr\":\"1\",\"family_name\":\"\",\"given_name\":",
    "\"\",\"idtyp\":\"user\",\"ipaddr\":\"\",\"name\":\"\",\"oid\":\"\x01\",\"platf\":\"3\",\"puid\":\"1003",
    "\",\"rh\":\"1.\x02.\",\"scp\":\"email openid profile User.Read\",\"sid\":\"\x01\",\"signin_state\":",
    "[\"kmsi\"],\"sub\":\"\x02\",\"tenant_region_scope\":\"EU\",\"tid\":\"\x01\",\"unique_name\":\"\",",
    "\"upn\":\"\",\"uti\":\"\x02\",\"ver\":\"1.0\",\"wids\":[\"\x01\"],\"xms_ftd\":\"\x02\",",
    "\"xms_idrel\":\"1 24\",\"xms_st\":{\"sub\":\"\x02\"},\"xms_tcdt\":\x04,\"xms_tdbr\":\"EU\"}",
    // An access token of version 2.
    "{\"typ\":\"JWT\",\"alg\":\"RS256\",\"kid\":\"\x02\"}{\"aud\":\"\x01\",\"iss\":\"",
    "https://login.microsoftonline.com/\x01/v2.0\",\"iat\":\x04,\"nbf\":\x04,\"exp\":\x04,",
    "\"aio\":\"\x02\",\"azp\":\"\x01\",\"azpacr\":\"1\",\"email\":\"\",\"groups\":[\"\x01\",\"\x01\",\"\x01\",",
    "\"\x01\"],\"login_hint\":\"O.\x05\",\"name\":\"\",\"nonce\":\"\x02\",\"oid\":\"\x01\",",
    "\"preferred_username\":\"\",\"rh\":\"1.\x02.\",\"roles\":[\"\"],\"scp\":\"access_as_user\",",
    "\"sid\":\"\x01\",\"sub\":\"\x02\",\"tid\":\"\x01\",\"uti\":\"\x02\",\"ver\":\"2.0\",\"xms_ftd\":\"\x02\"}",
    // The claims of a principal, in their order, and the scopes.
    "{\"acct\":0,\"auth_time\":\x04,\"email\":\"\",\"groups\":[\"\x01\",\"\x01\",\"\x01\"],\"login_hint\":",
    "\"O.\x05\",\"name\":\"\",\"oid\":\"\x01\",\"preferred_username\":\"\",\"roles\":[\"\",\"\"],\"sid\":\"\x01\"",
    ",\"sub\":\"\x02\",\"tid\":\"\x01\"}openid profile email User.Read api://\x01/access_as_user",
)
.as_bytes();

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_dictionary_of_this_version_is_never_changed() {
        let digest = STANDARD.encode(Sha256::digest(DICTIONARY));
        assert_eq!(digest, "w3brc9ORTGRKGAmOTrWSEJP3Svl4SZVL40nuKlFLvBo=");
    }
}
