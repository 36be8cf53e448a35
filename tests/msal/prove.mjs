// Unmodified MSAL for Node against the emulator: prove.mjs SETTINGS_TOML KEY_PEM CERTIFICATE_PEM

import { createHash, randomUUID, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// MSAL is installed beside the working directory, not beside this file.
const { ConfidentialClientApplication, CryptoProvider } =
    createRequire(`${process.cwd()}/`)("@azure/msal-node");

const REDIRECT = "http://localhost:5000/callback";
// The settings are TOML whose values are JSON, one a line.
const settings = Object.fromEntries(
    readFileSync(process.argv[2], "utf8").trim().split("\n").map((line) => {
        const [name, ...value] = line.split(" = ");
        return [name, JSON.parse(value.join(" = "))];
    }),
);
const privateKey = readFileSync(process.argv[3], "utf8");
const certificate = readFileSync(process.argv[4], "utf8");

function check(condition, sentence) {
    if (!condition) {
        console.error(`FAILED: ${sentence}`);
        process.exit(1);
    }
    console.log(`  ${sentence}`);
}

class Browser {
    cookies = new Map();

    /** Follows redirects until the browser would leave for the app. */
    async visit(url) {
        for (let hops = 0; hops < 8; hops += 1) {
            const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join("; ");
            const answer = await fetch(url, { redirect: "manual", headers: { cookie } });
            for (const line of answer.headers.getSetCookie()) {
                const [name, ...value] = line.split(";")[0].split("=");
                this.cookies.set(name, value.join("="));
            }
            const location = answer.headers.get("location");
            check(location, `${new URL(url).pathname} answers with a redirect`);
            url = new URL(location, url).href;
            if (url.startsWith(REDIRECT)) {
                return new URL(url);
            }
        }
        throw new Error("redirects without end");
    }
}

async function prove(title, scopes, user, auth) {
    console.log(`MSAL for Node, ${title}`);
    const host = new URL(settings.authority).host;
    const app = new ConfidentialClientApplication({
        auth: { clientId: settings.client_id, knownAuthorities: [host], ...auth },
    });
    const crypto = new CryptoProvider();
    const { verifier, challenge } = await crypto.generatePkceCodes();
    const [state, nonce] = [randomUUID(), randomUUID()];
    const browser = new Browser();
    const url = await app.getAuthCodeUrl({
        scopes, redirectUri: REDIRECT, loginHint: user, state, nonce,
        codeChallenge: challenge, codeChallengeMethod: "S256",
    });
    const back = (await browser.visit(url)).searchParams;
    check(back.get("state") === state, "the state comes back");
    const result = await app.acquireTokenByCode({
        scopes, redirectUri: REDIRECT, code: back.get("code"), codeVerifier: verifier, state,
        nonce, clientInfo: back.get("client_info"),
    }, { code: back.get("code"), state: back.get("state") });
    check(result.account.username === user, "the code is redeemed, the account is the user's");

    const accounts = await app.getTokenCache().getAllAccounts();
    check(accounts.length === 1, "the cache holds one account");
    const cached = await app.acquireTokenSilent({ scopes, account: accounts[0] });
    check(cached.fromCache, "the access token comes from the cache");
    const renewed = await app.acquireTokenSilent({ scopes, account: accounts[0], forceRefresh: true });
    check(!renewed.fromCache && renewed.accessToken !== result.accessToken, "a forced refresh works");

    const signOut = new URL(`${settings.authority}/${settings.tenant}/oauth2/v2.0/logout`);
    signOut.searchParams.set("logout_hint", result.idTokenClaims.login_hint);
    signOut.searchParams.set("post_logout_redirect_uri", REDIRECT);
    check((await browser.visit(signOut.href)).href === REDIRECT, "sign-out returns to the app");
    await app.getTokenCache().removeAccount(accounts[0]);
    check((await app.getTokenCache().getAllAccounts()).length === 0, "the account has left the cache");
    const again = await app.getAuthCodeUrl({ scopes, redirectUri: REDIRECT, prompt: "none" });
    const error = (await browser.visit(again)).searchParams.get("error");
    check(error === "login_required", "and nobody is signed in any more");
    return app;
}

const clientSecret = settings.client_secret;
const der = new X509Certificate(certificate).raw;
const thumbprintSha256 = createHash("sha256").update(der).digest("hex");
const clientCertificate = { thumbprintSha256, privateKey };
const authority = `${settings.authority}/${settings.tenant}`;

await prove("secret", ["User.Read"], "alice@contoso.test", { authority, clientSecret });
await prove("certificate, the tenant by its domain", [`api://${settings.client_id}/access_as_user`],
    "carol@contoso.test",
    { authority: `${settings.authority}/contoso.onmicrosoft.com`, clientCertificate });
await prove("/common, 250 groups", ["User.Read"], "dave@contoso.test",
    { authority: `${settings.authority}/common`, clientSecret });
const app = await prove("GUID in capitals", ["User.Read"], "zoe@contoso.test",
    { authority: `${settings.authority}/${settings.tenant.toUpperCase()}`, clientSecret });

const own = await app.acquireTokenByClientCredential({ scopes: ["https://graph.microsoft.com/.default"] });
check(own.accessToken, "client credentials give an app token");
