// What only a browser can prove: prove.mjs, with VESTIBULE and CHROMIUM in the environment.

import { createRequire } from "node:module";

import { App, emulator, proxy, stop } from "./stack.mjs";

// Playwright is installed in the working directory, not beside this file.
const { chromium } = createRequire(`${process.cwd()}/`)("playwright-core");
const { CHROMIUM, SHOTS } = process.env;
const ALICE = "alice@contoso.test";
const BOB = "bob@contoso.test";
const KEPT = /Your form is kept; signing you in/;

function check(condition, sentence) {
    if (!condition) throw new Error(`FAILED: ${sentence}`);
    console.log(`  ${sentence}`);
}

const app = await App.start();
const client = await emulator();
const origin = await proxy(client, app);
const routed = await proxy(client, app, "keep_fragment = true");
const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update",
    ],
});

/** Complaints of pages on our origins: a policy that stops our own script, an error in it. */
const complaints = [];

async function profile(options = {}) {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(20_000);
    context.on("weberror", (error) => complaints.push(String(error.error())));
    context.on("console", (message) => {
        if (/Content Security Policy/.test(message.text())) complaints.push(message.text());
    });
    return context;
}

async function pick(page, user = ALICE) {
    await page.locator(`.tile[data-user="${user}"]`).click();
}

/** Microsoft asks, or sends the browser on at once, and the app shows a page. */
async function passMicrosoft(page) {
    await page.waitForSelector(".tile, #path");
    if (await page.locator(".tile").count()) await pick(page);
    await page.waitForSelector("#path");
}

/** A new profile in which `user` is signed in at `base`. */
async function signedIn(user = ALICE, base = origin) {
    const context = await profile();
    const page = await context.newPage();
    await page.goto(`${base}/`);
    await pick(page, user);
    await page.waitForURL(`${base}/`);
    return { context, page };
}

/** The user signs out of Microsoft elsewhere: the session ends, its cookies stay in the browser. */
async function endSession(context) {
    const me = await (await context.request.get(`${origin}/.auth/me`)).json();
    const sid = me[0].user_claims.find((claim) => claim.typ === "sid").val;
    await fetch(`${origin}/.auth/logout/frontchannel?sid=${sid}`);
    await context.clearCookies({ domain: new URL(client.authority).hostname });
    // Nobody's sessions end three times in a minute: to the guard against loops this looks like one.
    await context.clearCookies({ name: "__Host-vestibule-flow" });
}

async function forgetSession(context) {
    await context.clearCookies({ name: "__Host-vestibule" });
    await context.clearCookies({ name: "__Host-vestibule-1" });
}

async function fill(page) {
    await page.locator("[name=purpose]").fill("Café & cake = 5 €");
    await page.locator("[name=note]").fill("two\nlines; 100% \"sure\" </script><b>");
}

/** The body with the boundary that each submission draws anew left out. */
function content(post) {
    const boundary = /boundary=(.*)$/.exec(post.headers["content-type"] ?? "")?.[1];
    const text = post.body.toString("latin1");
    return boundary ? text.replaceAll(boundary, "BOUNDARY") : text;
}

async function storage(page) {
    return page.evaluate(() => Object.keys(sessionStorage));
}

async function shoot(page, name) {
    if (!SHOTS) return;
    for (const [look, size, scheme] of [
        ["light", { width: 1000, height: 700 }, "light"],
        ["dark", { width: 1000, height: 700 }, "dark"],
        ["narrow", { width: 360, height: 640 }, "light"],
    ]) {
        await page.setViewportSize(size);
        await page.emulateMedia({ colorScheme: scheme });
        await page.screenshot({ path: `${SHOTS}/${name}-${look}.png` });
    }
}

async function formsComeOutAsTheyWere() {
    const { context, page } = await signedIn();
    for (const [place, what] of [
        ["/form", "an urlencoded form"],
        ["/form?kind=multipart/form-data", "a multipart form with an empty file field"],
        ["/form-latin", "a form of a page in windows-1252"],
        ["/form-latin?kind=multipart/form-data", "a multipart form in windows-1252"],
    ]) {
        await page.goto(`${origin}${place}`);
        await fill(page);
        await page.locator("#save").click();
        await page.waitForSelector("#received");
        const direct = app.posts.at(-1);

        await page.goto(`${origin}${place}`);
        await fill(page);
        await endSession(context);
        const before = app.posts.length;
        await page.locator("#save").click();
        await page.waitForSelector(".tile");
        check(app.posts.length === before, `${what} does not reach the app before sign-in`);
        await pick(page);
        await page.waitForSelector("#received");
        check(app.posts.length === before + 1, `${what} is sent once after sign-in`);
        const kept = app.posts.at(-1);
        check(content(kept) === content(direct), `${what} comes out byte for byte`);
        check(kept.url === direct.url && page.url() === `${origin}/submit?year=7`, "at its own address");
        check(
            kept.headers.origin === origin && kept.headers["sec-fetch-site"] === "same-origin",
            "it is sent by a page of its own origin",
        );
        check((await storage(page)).every((key) => !key.startsWith("vestibule-form-")),
            "nothing of it stays in the browser");
        // Back is Microsoft's page, which signs in once more and sends nothing.
        await page.goBack();
        await passMicrosoft(page);
        check(app.posts.length === before + 1, "the back button sends nothing again");
    }
    await context.close();
}

async function aFormMayBeAnsweredByARedirectToAnotherOrigin() {
    const { context, page } = await signedIn();
    await page.goto(`${origin}/form?action=/elsewhere`);
    await endSession(context);
    await page.locator("#save").click();
    await pick(page);
    await page.waitForURL(`${app.origin}/landed`);
    check(true, "the app may answer a kept form by a redirect to another origin");
    await context.close();
}

async function theUserSeesWhatHappens() {
    const { context, page } = await signedIn();
    // A navigation that is aborted leaves the browser on the page that began it.
    const stopOnce = (pattern) => page.route(pattern, (route) => route.abort("aborted"), { times: 1 });
    await page.goto(`${origin}/form`);
    await endSession(context);
    const before = app.posts.length;
    await stopOnce("**/.auth/login/aad?*");
    await page.locator("#save").click();
    await page.getByRole("heading", { name: KEPT }).waitFor();
    check(KEPT.test(await page.title()), "a page says that the form is kept");
    await shoot(page, "keeping");
    await page.evaluate(() => location.replace(document.getElementById("step").dataset.next));
    await stopOnce("**/submit?*");
    await pick(page);
    await page.getByRole("heading", { name: /Sending your form again/ }).waitFor();
    check(app.posts.length === before, "a page says that the form is sent again");
    await shoot(page, "sending");
    await page.reload();
    await page.getByRole("heading", { name: "Your form may have been sent already" }).waitFor();
    await shoot(page, "sent-before");
    check(app.posts.length === before, "a reload of that page sends nothing unasked");
    await page.getByRole("button", { name: "Send the form" }).click();
    await page.waitForSelector("#received");
    check(app.posts.length === before + 1, "its button does");
    const keys = await storage(page);
    const name = keys.find((key) => key.startsWith("vestibule-sent-")).slice(15);
    await page.goto(`${origin}/.auth/form?id=${name}`);
    await page.getByRole("heading", { name: "There is no form to send here" }).waitFor();
    await shoot(page, "nothing-kept");
    check(app.posts.length === before + 1, "a form that was sent is not found again");
    await context.close();
}

async function whatIsNotKeptIsSaid() {
    const { context, page } = await signedIn();
    await page.goto(`${origin}/form?kind=multipart/form-data`);
    await page.locator("[name=attachment]").setInputFiles(process.argv[1]);
    await endSession(context);
    const before = app.posts.length;
    await page.locator("#save").click();
    await page.getByRole("heading", { name: "Your form was not sent" }).waitFor();
    await shoot(page, "with-a-file");
    check(/with files/.test(await page.textContent("main")), "a form with a file is not kept");
    const [tab] = await Promise.all([
        context.waitForEvent("page"),
        page.getByRole("link", { name: "Sign in in another tab" }).click(),
    ]);
    await pick(tab);
    await tab.waitForSelector("#path");
    await page.reload();
    await page.waitForSelector("#received");
    check(app.posts.length === before + 1 && content(app.posts.at(-1)).includes("What only a browser"),
        "after a sign-in in another tab a reload sends it, with its file");

    // Storage that is blocked, as by a browser without cookies for this site.
    await page.goto(`${origin}/form`);
    await endSession(context);
    await page.addInitScript(() => {
        Object.defineProperty(window, "sessionStorage", { get() { throw new Error("blocked"); } });
    });
    await page.locator("#save").click();
    await page.getByRole("heading", { name: "Your form was not sent" }).waitFor();
    check(app.posts.length === before + 1, "without storage a page says that it was not sent");
    await context.close();

    const plain = await profile({ javaScriptEnabled: false });
    const still = await plain.newPage();
    await still.goto(`${origin}/form`);
    await pick(still);
    await forgetSession(plain);
    await still.locator("#save").click();
    await still.getByRole("heading", { name: "Your form was not sent" }).waitFor();
    await shoot(still, "without-scripts");
    check(app.posts.length === before + 1, "without scripts a page says that it was not sent");
    await plain.close();
}

async function onlyItsAuthorSendsAForm() {
    const { context, page } = await signedIn();
    await page.goto(`${origin}/form`);
    await page.locator("[name=purpose]").fill("a-secret-of-alice");
    await endSession(context);
    const before = app.posts.length;
    await page.locator("#save").click();
    await pick(page, BOB);
    await page.getByRole("heading", { name: "This form is not yours" }).waitFor();
    await shoot(page, "of-another-user");
    const seen = (await page.content()) + (await page.evaluate(() => JSON.stringify(sessionStorage)));
    check(!seen.includes("a-secret-of-alice"), "another user cannot read the form");
    check(app.posts.length === before, "another user does not send the form");
    await page.getByRole("link", { name: "Use another account" }).click();
    await pick(page, ALICE);
    await page.waitForSelector("#received");
    check(app.posts.length === before + 1 &&
        content(app.posts.at(-1)).includes("a-secret-of-alice"), "its author still sends it");

    // Nobody known: asked.
    await page.goto(`${origin}/form`);
    await forgetSession(context);
    await page.locator("#save").click();
    await pick(page, ALICE);
    await page.getByRole("heading", { name: "Send your form now?" }).waitFor();
    await shoot(page, "asking");
    check(app.posts.length === before + 1, "a form of nobody known is not sent unasked");
    await page.getByRole("button", { name: "Send the form" }).click();
    await page.waitForSelector("#received");
    check(app.posts.length === before + 2, "the button sends it");
    await context.close();
}

async function eightTabsAtOnce() {
    const context = await profile();
    const tabs = [];
    for (let tab = 0; tab < 8; tab += 1) {
        const page = await context.newPage();
        await page.goto(`${origin}/tab/${tab}?x=${tab}`);
        await page.waitForSelector(".tile");
        tabs.push(page);
    }
    for (let tab = 7; tab >= 0; tab -= 1) {
        await pick(tabs[tab]);
        await tabs[tab].waitForURL(`${origin}/tab/${tab}?x=${tab}`);
        await tabs[tab].waitForSelector("#path");
    }
    check(true, "eight tabs sign in at once, in any order, and land where each wanted");
    await context.close();
}

async function backAndReloadAfterSignIn() {
    const context = await profile();
    const page = await context.newPage();
    let callback;
    page.on("request", (request) => {
        if (request.url().includes("/callback?")) callback = request.url();
    });
    await page.goto(`${origin}/wanted`);
    await pick(page);
    await page.waitForURL(`${origin}/wanted`);
    await page.goBack();
    await passMicrosoft(page);
    check(page.url().startsWith(`${origin}/`), "back to Microsoft and on again lands in the app");
    await page.goto(callback);
    await page.waitForSelector("#path");
    check(page.url() === `${origin}/`, "a callback that is opened again lands in the app");
    await context.close();
}

async function fragments() {
    const context = await profile();
    const tabs = [];
    for (const fragment of ["#/orders/7?tab=2", "#ünï & \"quoted\"", ""]) {
        const page = await context.newPage();
        await page.goto(`${routed}/app?x=1${fragment}`);
        await page.waitForSelector(".tile");
        tabs.push([page, new URL(`${routed}/app?x=1${fragment}`)]);
    }
    for (const [page, wanted] of tabs.reverse()) {
        await pick(page);
        await page.waitForSelector("#path");
        check(page.url() === wanted.href, `the fragment ${wanted.hash || "(none)"} comes back`);
    }
    const direct = await signedIn();
    const steps = (page) => page.evaluate(() => history.length);
    check(await steps(tabs[0][0]) === await steps(direct.page), "the page between is not in the history");
    await direct.context.close();
    await context.close();

    const plain = await profile({ javaScriptEnabled: false });
    const still = await plain.newPage();
    await still.goto(`${routed}/app`);
    await shoot(still, "fragment-without-scripts");
    await still.getByRole("link", { name: "Sign in" }).click();
    await pick(still);
    await still.waitForSelector("#path");
    check(still.url() === `${routed}/app`, "without scripts a link goes on");
    await plain.close();
}

async function ours(context) {
    const cookies = await context.cookies(origin);
    return cookies.filter((cookie) => cookie.name.startsWith("__Host-vestibule"));
}

async function signOutEmptiesTheJar() {
    for (const user of [ALICE, "carol@contoso.test"]) {
        const { context, page } = await signedIn(user);
        check((await ours(context)).length > 0, `${user} has cookies`);
        await page.goto(`${origin}/.auth/logout`);
        await page.getByRole("heading", { name: "You are signed out" }).waitFor();
        const left = (await ours(context)).map((cookie) => cookie.name);
        check(left.length === 0, `sign-out leaves no cookie of ours to ${user} (${left})`);
        await page.goto(`${origin}/`);
        await page.waitForSelector(".tile");
        await context.close();
    }
}

async function cookieLimits() {
    const enormous = Array.from({ length: 2000 }, (_, n) =>
        `${n.toString(16).padStart(8, "0")}-7a5d-4c11-9f3e-${(n * 2654435761).toString(16).padStart(12, "0")}`);
    for (const [user, groups] of [
        [ALICE, 0], [BOB, 10], ["carol@contoso.test", 150], ["grace@contoso.test", 200],
        ["dave@contoso.test", "too many"], [ALICE, 2000],
    ]) {
        if (groups === 2000) {
            const fault = { endpoint: "token", times: 2,
                access_token_claims: { groups: enormous }, id_token_claims: { groups: enormous } };
            const answer = await fetch(`${client.authority}/_emulator/faults`, {
                method: "POST", body: JSON.stringify(fault),
                headers: { "content-type": "application/json" },
            });
            check(answer.status === 204, "the next tokens name 2,000 groups");
        }
        const { context, page } = await signedIn(user);
        await page.reload();
        check(page.url() === `${origin}/`, `a user with ${groups} groups stays signed in`);
        const sizes = (await ours(context)).filter((cookie) => !cookie.name.endsWith("-flow"))
            .map((cookie) => cookie.name.length + cookie.value.length);
        check(sizes.length <= 2 && sizes.every((size) => size <= 4096),
            `in ${sizes.length} cookie(s) of ${sizes.join(" and ")} bytes`);
        await context.close();
    }
}

async function scriptsSetNoCookie() {
    const { context, page } = await signedIn();
    await context.clearCookies();
    const statuses = await page.evaluate(async () => {
        const calls = Array.from({ length: 200 }, () => fetch("/api"));
        return (await Promise.all(calls)).map((answer) => answer.status);
    });
    check(statuses.every((status) => status === 401), "200 calls of a script get 401");
    check((await ours(context)).length === 0, "and set no cookie");
    await context.close();
}

try {
    await formsComeOutAsTheyWere();
    await aFormMayBeAnsweredByARedirectToAnotherOrigin();
    await theUserSeesWhatHappens();
    await whatIsNotKeptIsSaid();
    await onlyItsAuthorSendsAForm();
    await fragments();
    await eightTabsAtOnce();
    await backAndReloadAfterSignIn();
    await signOutEmptiesTheJar();
    await cookieLimits();
    await scriptsSetNoCookie();
    check(complaints.length === 0, `no page of ours breaks its own policy (${complaints})`);
} catch (error) {
    console.error(error.message ?? error);
    for (const page of browser.contexts().flatMap((context) => context.pages())) {
        const text = await page.textContent("body", { timeout: 1_000 }).catch(() => "");
        console.error(`${page.url()}: ${text.replace(/\s+/g, " ").slice(0, 500)}`);
    }
    console.error(complaints.join("\n"));
    process.exitCode = 1;
} finally {
    await browser.close();
    app.server.close();
    app.server.closeAllConnections();
    stop();
}
