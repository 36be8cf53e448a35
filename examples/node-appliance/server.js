// A ticket board as a vendor ships it: it knows one header, X-Remote-User, and believes it.
// There is no way to change it, and nobody wants to. Node without packages.

const http = require("node:http");

const port = Number(process.env.PORT || 3000);
const bind = process.env.BIND || "0.0.0.0";
const tickets = [];

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const html = (text) => String(text).replace(/[&<>"]/g, (character) => escapes[character]);

const page = (user) => `<!doctype html>
<meta charset="utf-8">
<title>Tickets</title>
<style>body { font: 16px sans-serif; margin: 2em }</style>
<h1>Tickets</h1>
<p>You are <b id="user">${html(user)}</b>. <a href="/.auth/logout">Sign out</a></p>
<ol>${tickets.map(({ who, text }) => `<li>${html(text)} (${html(who)})</li>`).join("")}</ol>
<form method="post" action="/tickets">
  <input name="text" required> <button>File a ticket</button>
</form>
`;

function answer(request, response) {
    const send = (status, type, text) => {
        response.writeHead(status, { "content-type": `${type}; charset=utf-8` });
        response.end(text);
    };
    const { pathname } = new URL(request.url, "http://board");
    const user = request.headers["x-remote-user"];

    if (pathname === "/about") {
        // Anonymous: the vendor's monitoring reads it. What arrived under our names, word for word.
        const { authorization = "", "x-remote-user": who = "" } = request.headers;
        send(200, "text/plain", `Ticket board 4.2\nuser: ${who}\nauthorization: ${authorization}\n`);
    } else if (!user) {
        send(403, "text/plain", "no user\n");
    } else if (pathname === "/tickets" && request.method === "POST") {
        let form = "";
        request.on("data", (chunk) => { form += chunk; });
        request.on("end", () => {
            tickets.push({ who: user, text: new URLSearchParams(form).get("text") });
            response.writeHead(303, { location: "/" }).end();
        });
    } else if (pathname === "/") {
        send(200, "text/html", page(user));
    } else {
        send(404, "text/plain", "not found\n");
    }
}

http.createServer(answer).listen(port, bind);
