// The emulator and the proxy as a person would run them, and an old app that records its forms.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

const binary = process.env.VESTIBULE;
const folder = mkdtempSync(join(tmpdir(), "vestibule-browser-"));
const children = [];

/** An old app: pages with forms, and every POST on record. */
export class App {
    posts = [];

    static async start() {
        const app = new App();
        // An access token with 2,000 groups is a header of 100 KB.
        app.server = createServer({ maxHeaderSize: 256 * 1024 }, (...call) => app.answer(...call));
        app.server.listen(0, "127.0.0.1");
        await once(app.server, "listening");
        app.origin = `http://127.0.0.1:${app.server.address().port}`;
        return app;
    }

    answer(request, response) {
        const chunks = [];
        request.on("data", (chunk) => chunks.push(chunk));
        request.on("end", () => {
            const url = new URL(request.url, "http://app.test");
            const charset = url.pathname === "/form-latin" ? "windows-1252" : "utf-8";
            const send = (html) => {
                response.setHeader("content-type", `text/html; charset=${charset}`);
                response.end(Buffer.from(html, charset === "utf-8" ? "utf8" : "latin1"));
            };
            if (request.method === "POST") {
                const { headers } = request;
                this.posts.push({ url: request.url, headers, body: Buffer.concat(chunks) });
                if (url.pathname === "/elsewhere") {
                    response.writeHead(303, { location: `${this.origin}/landed` }).end();
                } else {
                    send(`<title>received</title><p id=received>${this.posts.length}</p>`);
                }
            } else if (url.pathname.startsWith("/form")) {
                send(FORM.replace("KIND", url.searchParams.get("kind") ?? "").replace(
                    "ACTION", url.searchParams.get("action") ?? "/submit?year=7",
                ));
            } else {
                send(`<title>app</title><p id=path>${encodeURI(request.url)}</p>`);
            }
        });
    }
}

const FORM = `<title>form</title><form method=post action="ACTION" enctype="KIND">
<input name=purpose><textarea name=note></textarea><input name=submit value=hidden type=hidden>
<input name='we"ird' value='&lt;b&gt;"'><input type=checkbox name=tag value=a checked>
<input type=checkbox name=tag value=b checked><input type=file name=attachment>
<button name=action value=save id=save>Save</button></form>`;

export async function emulator() {
    const child = spawn(binary, ["emulator", "--listen", "127.0.0.1:0"], {
        stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(child);
    let text = "";
    for await (const chunk of child.stdout) {
        text += chunk;
        if (/^users = .*\n/m.test(text)) break;
    }
    return Object.fromEntries(text.trim().split("\n").map((line) => {
        const [name, ...value] = line.split(" = ");
        return [name, JSON.parse(value.join(" = "))];
    }));
}

/** The proxy; `session` is TOML of its section. */
export async function proxy(client, app, session = "") {
    const key = spawn(binary, ["keygen"], { stdio: ["ignore", "pipe", "inherit"] });
    let keys = "";
    for await (const chunk of key.stdout) keys += chunk;
    const port = await freePort();
    const origin = `http://localhost:${port}`;
    const file = join(folder, `proxy-${port}.toml`);
    writeFileSync(file, `
[server]
listen = "127.0.0.1:${port}"
public_url = "${origin}"
[admin]
listen = "127.0.0.1:0"
[entra]
authority = ${JSON.stringify(client.authority)}
tenant = ${JSON.stringify(client.tenant)}
client_id = ${JSON.stringify(client.client_id)}
client_secret = ${JSON.stringify(client.client_secret)}
[session]
keys = [${JSON.stringify(keys.trim())}]
${session}
[upstream]
url = ${JSON.stringify(app.origin)}
[log]
level = "warn"
`);
    const child = spawn(binary, ["run", "--config", file], { stdio: "inherit" });
    children.push(child);
    while (!(await answers(`${origin}/.auth/me`))) {
        if (child.exitCode !== null) throw new Error(readFileSync(file, "utf8"));
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return origin;
}

async function answers(url) {
    try {
        return (await fetch(url)).status === 401;
    } catch {
        return false;
    }
}

async function freePort() {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address();
    server.close();
    await once(server, "close");
    return port;
}

export function stop() {
    children.forEach((child) => child.kill());
    rmSync(folder, { recursive: true, force: true });
}
