"""A chat of one room. The page and the WebSocket come from one port; headers say who talks."""

import asyncio
import http
import json
import os
import pathlib
import urllib.request

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

GRAPH = os.environ.get("GRAPH", "https://graph.microsoft.com/v1.0")
PAGE = pathlib.Path(__file__).with_name("chat.html").read_text(encoding="utf-8")
room = set()


def display_name(authorization):
    """The name that Microsoft Graph has for the user, asked with the user's own token."""
    call = urllib.request.Request(GRAPH + "/me", headers={"Authorization": authorization})
    with urllib.request.urlopen(call, timeout=10) as answer:
        return json.load(answer)["displayName"]


def page(connection, request):
    """Plain requests get the page; the rest becomes a WebSocket."""
    if request.path == "/healthz":
        return connection.respond(http.HTTPStatus.OK, "ok\n")
    if "X-User" not in request.headers:
        return connection.respond(http.HTTPStatus.FORBIDDEN, "no user\n")
    if request.path == "/chat":
        return None
    answer = connection.respond(http.HTTPStatus.OK, PAGE)
    del answer.headers["Content-Type"]
    answer.headers["Content-Type"] = "text/html; charset=utf-8"
    return answer


async def talk(connection):
    """One person in the room: what one says, all hear."""
    headers = connection.request.headers
    name = await asyncio.to_thread(display_name, headers.get("Authorization", ""))
    room.add(connection)
    try:
        broadcast(room, json.dumps({"who": name, "user": headers["X-User"], "text": "is here"}))
        async for text in connection:
            broadcast(room, json.dumps({"who": name, "user": headers["X-User"], "text": text}))
    except ConnectionClosed:
        pass
    finally:
        room.discard(connection)


async def main():
    """Serves until it is stopped."""
    bind, port = os.environ.get("BIND", "0.0.0.0"), int(os.environ.get("PORT", "8080"))
    async with serve(talk, bind, port, process_request=page) as server:
        await server.serve_forever()


asyncio.run(main())
