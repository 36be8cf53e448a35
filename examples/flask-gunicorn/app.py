"""Requests for leave: everybody asks, approvers say yes. No OAuth in here, only headers."""

import json
import os
import urllib.request
from urllib.parse import unquote

from flask import Flask, abort, redirect, render_template_string, request

GRAPH = os.environ.get("GRAPH", "https://graph.microsoft.com/v1.0")
app = Flask(__name__)
wishes: list[dict[str, str]] = []   # a real one has a database; here one worker and its memory

PAGE = """<!doctype html>
<title>Leave</title>
<style>body { font: 16px sans-serif; margin: 2em } form { display: inline }</style>
<h1>Leave</h1>
<p>Hello <b id="name">{{ me.displayName }}</b> (<span id="user">{{ user }}</span>).
   <a href="/.auth/logout">Sign out</a></p>
<p>Your groups: <span id="groups">{{ groups | join(", ") or "none" }}</span>.
   Your roles: <span id="roles">{{ roles | join(", ") or "none" }}</span>.</p>
<ul>
{% for wish in wishes %}
  <li>{{ wish.who }}: {{ wish.days }}
  {% if wish.approved %}(approved by {{ wish.approved }})
  {% elif "Approver" in roles %}
    <form method="post" action="/approve/{{ loop.index0 }}"><button>Approve</button></form>
  {% endif %}</li>
{% endfor %}
</ul>
<form method="post" action="/wishes">
  <label>Days off <input name="days" required></label> <button>Ask</button>
</form>
"""


def user() -> str:
    """Who is asking. The proxy percent-encodes what is not ASCII."""
    return unquote(request.headers.get("X-Forwarded-Preferred-Username", "")) or abort(403)


def entries(header: str) -> list[str]:
    """The entries of a header that lists some."""
    return [unquote(entry) for entry in request.headers.get(header, "").split(",") if entry]


def me() -> dict[str, str]:
    """What Microsoft Graph says about the user, asked with the user's own token."""
    call = urllib.request.Request(GRAPH + "/me")
    call.add_header("Authorization", request.headers.get("Authorization", ""))
    with urllib.request.urlopen(call, timeout=10) as answer:
        return json.load(answer)


@app.get("/")
def show():
    """The page."""
    return render_template_string(
        PAGE,
        user=user(),
        me=me(),
        groups=entries("X-Forwarded-Groups"),
        roles=entries("X-User-Roles"),
        wishes=wishes,
    )


@app.post("/wishes")
def ask():
    """Somebody asks for leave."""
    user()
    wishes.append({"who": me()["displayName"], "days": request.form["days"], "approved": ""})
    return redirect("/", 303)


@app.post("/approve/<int:number>")
def approve(number: int):
    """An approver says yes; proxy.toml lets nobody else come this far."""
    wishes[number]["approved"] = user()
    return redirect("/", 303)


@app.get("/healthz")
def healthz():
    """For the cluster's probe."""
    return "ok\n"
