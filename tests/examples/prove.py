"""Signs in at each example and looks at what its app shows. Arguments: which examples."""

import http.client
import json
import sys
import threading
import time
import urllib.parse

from browser import Browser
from stage import Example

ALICE, BOB, CAROL, ZOE = (f"{name}@contoso.com" for name in ("alice", "bob", "carol", "zoe"))
ZOES_NAME = "Zoë Müller-Ångström"


def stranger_is_refused(example, path="/"):
    """Contract of a request without a session: 302 for a navigation, 401 for a script."""
    stranger = Browser(example.origin)
    page = stranger.hop(path)
    assert page.status == 302 and "/oauth2/v2.0/authorize" in page.headers["Location"], page.status
    assert "no-store" in page.headers["Cache-Control"]
    page = stranger.fetch(path)
    assert page.status == 401 and page.headers["WWW-Authenticate"] == "Bearer", page.status
    assert "Set-Cookie" not in page.headers
    assert json.loads(page.text)["error"] == "login_required"


def signs_out(browser):
    """Afterwards the next page asks for a sign-in."""
    page = browser.open("/.auth/logout")
    assert page.status == 200 and not browser.session(), (page.status, browser.session())
    assert browser.hop().status == 302


def foreign_page_is_refused(browser, path):
    """A form on somebody else's site."""
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "https://evil.example"}
    assert browser.fetch(path, "POST", headers).status == 403


def php_apache():
    """REMOTE_USER and a token for Graph, as App Service gives them."""
    with Example("php-apache") as example:
        stranger_is_refused(example)
        spoofed = {
            "X-MS-CLIENT-PRINCIPAL-NAME": "mallory@contoso.com",
            "X_MS_CLIENT_PRINCIPAL_NAME": "mallory@contoso.com",
            "x-ms-token-aad-access-token": "stolen",
        }
        zoe = Browser(example.origin, ZOE, spoofed)
        page = zoe.open("/")
        assert page.status == 200 and page.signed_in_on_the_way(), page.text
        assert page.element("name") == ZOES_NAME, page.text
        assert page.element("user") == ZOE and "Translator" in page.text, page.text
        page = zoe.submit("/", number="+46 8 123")
        assert page.status == 200 and f"<td>{ZOES_NAME}</td><td>+46 8 123</td>" in page.text, page.text
        foreign_page_is_refused(zoe, "/")
        signs_out(zoe)
        assert Browser(example.origin, extra=spoofed).hop().status == 302
    return "REMOTE_USER is set, Graph named the user, spoofed headers did not arrive"


def flask_gunicorn():
    """Groups, roles, a form, and a path for approvers."""
    with Example("flask-gunicorn") as example:
        stranger_is_refused(example)
        spoofed = {"X-Forwarded-Groups": "everything", "X_User_Roles": "Approver", "X-User-Roles": "Approver"}
        bob = Browser(example.origin, BOB, spoofed)
        page = bob.open("/")
        assert page.element("name") == "Bob Brown" and page.element("roles") == "none", page.text
        assert page.element("groups") == "none", page.text
        page = bob.submit("/wishes", days="24 to 31 December")
        assert "Bob Brown: 24 to 31 December" in page.text and "Approve" not in page.text, page.text
        assert bob.submit("/approve/0").status == 403
        alice = Browser(example.origin, ALICE)
        page = alice.open("/")
        assert page.element("roles") == "Approver", page.text
        assert page.element("groups") == "bbbbcccc-1111-dddd-2222-eeee3333ffff", page.text
        assert f"(approved by {ALICE})" in alice.submit("/approve/0").text
        # Carol's 180 groups make one header of more than 6 KB, which gunicorn was told to take.
        page = Browser(example.origin, CAROL).open("/")
        assert page.element("name") == "Carol Clark", page.text
        assert page.element("groups").count(",") == 179, page.text
        signs_out(bob)
    return "groups and roles arrived, Graph named the user, only the approver could approve"


def java_servlet():
    """A servlet in Tomcat."""
    with Example("java-servlet") as example:
        stranger_is_refused(example)
        zoe = Browser(example.origin, ZOE, {"X-User": "mallory@contoso.com", "X_User": "mallory@contoso.com"})
        page = zoe.open("/")
        assert page.element("name") == ZOES_NAME and page.element("user") == ZOE, page.text
        page = zoe.submit("/expenses", what="Train to Malmö")
        assert f"<li>{ZOES_NAME}: Train to Malmö</li>" in page.text, page.text
        assert Browser(example.origin).hop("/healthz.txt").text == "ok\n"
        signs_out(zoe)
    return "Tomcat saw X-User, Graph named the user, a form went through"


def node_appliance():
    """An appliance that believes one header."""
    with Example("node-appliance") as example:
        stranger_is_refused(example)
        spoofed = {"X-Remote-User": "mallory@contoso.com", "X_Remote_User": "mallory@contoso.com"}
        page = Browser(example.origin, extra=spoofed).hop("/about")
        assert page.status == 200 and "user: \n" in page.text, page.text
        alice = Browser(example.origin, ALICE, spoofed)
        assert alice.open("/").element("user") == ALICE
        page = alice.hop("/about")
        assert f"user: {ALICE}\nauthorization: \n" in page.text, page.text
        assert f"<li>Printer (again) ({ALICE})</li>" in alice.submit("/tickets", text="Printer (again)").text
        signs_out(alice)
    return "the one header arrived, spoofed ones did not, not even on the anonymous page"


def static_site():
    """Files for everybody, for the company, for a group."""
    with Example("static-site") as example:
        stranger_is_refused(example)
        stranger_is_refused(example, "/hr/")
        for path in ("/public/", "/public/style.css"):
            assert Browser(example.origin).hop(path).status == 200, path
        # What leaves /public by a detour is not public.
        for path in ("/public/../hr/", "/public/%2e%2e/hr/", "/public%2f..%2fhr/"):
            assert "Salaries" not in Browser(example.origin).hop(path).text, path
        bob, alice = Browser(example.origin, BOB), Browser(example.origin, ALICE)
        assert "Handbook" in bob.open("/").text
        assert json.loads(bob.fetch("/.auth/me").text)[0]["user_id"] == BOB
        assert bob.open("/hr/").status == 403
        page = alice.open("/hr/")
        assert page.status == 200 and "Everybody earns enough" in page.text, page.text
        signs_out(alice)
    return "/public/* is open, the rest asks for a sign-in, /hr/* for the group"


def websocket():
    """Two people talk; strangers and foreign pages do not get in."""
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    def enter(browser, origin=None, headers=()):
        address = browser.origin.replace("http", "ws") + "/chat"
        cookie = {"Cookie": browser.cookie_header()} if browser.cookie_header() else {}
        return connect(address, origin=origin or browser.origin, additional_headers=cookie | dict(headers))

    def closing_code(socket, act):
        act()
        try:
            raise AssertionError(f"still open: {len(socket.recv(10))} bytes more")
        except ConnectionClosed as closed:
            return closed.rcvd and closed.rcvd.code

    def refused(*arguments):
        try:
            enter(*arguments).close()
        except InvalidStatus as refusal:
            return refusal.response.status_code
        return 101

    with Example("websocket") as example:
        stranger_is_refused(example)
        assert refused(Browser(example.origin)) == 401
        zoe, bob = Browser(example.origin, ZOE), Browser(example.origin, BOB)
        assert "Chat" in zoe.open("/").text and "Chat" in bob.open("/").text
        assert refused(zoe, "https://evil.example") == 403
        with enter(zoe, headers={"X-User": "mallory@contoso.com"}) as her:
            assert json.loads(her.recv(10)) == {"who": ZOES_NAME, "user": ZOE, "text": "is here"}
            him = enter(bob)
            for socket in (her, him):
                assert json.loads(socket.recv(10)) == {"who": "Bob Brown", "user": BOB, "text": "is here"}
            her.send("Hej! ☃")
            for socket in (her, him):
                assert json.loads(socket.recv(10)) == {"who": ZOES_NAME, "user": ZOE, "text": "Hej! ☃"}
            him.send("x" * 200_000)
            for socket in (her, him):
                assert len(json.loads(socket.recv(10))["text"]) == 200_000
            assert her.ping().wait(10), "no pong"
            assert closing_code(him, lambda: signs_out(bob)) == 1008
            assert closing_code(her, example.end_proxy) == 1001
    return "messages and pings both ways, Graph named the user, 401 without a session, 403 from a foreign page, closed at sign-out and at the end"


def nginx_8k():
    """The fault, and each cure."""
    found = []
    with Example("nginx-8k") as example:
        stranger_is_refused(example)
        page = Browser(example.origin, ALICE).open("/")
        assert page.status == 200 and page.element("user") == ALICE, page.text
        page = Browser(example.origin, CAROL).open("/")
        assert page.status == 400 and "Request Header Or Cookie Too Large" in page.text, page.text
        found.append("400 for 180 groups")
    for cure, smallest, largest in (
        ("larger-buffers", 8193, 32768),
        ("no-token", 0, 0),
        ("graph-token", 1000, 8000),
        ("app-roles", 1000, 8000),
    ):
        with Example("nginx-8k", cure) as example:
            carol = Browser(example.origin, CAROL)
            page = carol.open("/")
            assert page.status == 200 and page.element("user") == CAROL, page.text
            assert page.element("roles") == "Approver", page.text
            size = int(page.element("size"))
            assert smallest <= size <= largest, (cure, size)
            assert 1 <= len(carol.session()) <= 2, carol.session()
            found.append(f"{cure}: a header of {size} bytes")
            signs_out(carol)
    return ", ".join(found)


class Visitor(threading.Thread):
    """Somebody who clicks on while pods come and go; any answer but 200 is kept."""

    def __init__(self, browser, path):
        super().__init__()
        self.browser, self.path = browser, path
        self.answers, self.pods, self.leaving = [], set(), threading.Event()

    def run(self):
        host, port = urllib.parse.urlsplit(self.browser.origin).netloc.split(":")
        headers = {"Cookie": self.browser.cookie_header(), "Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
        connection = None
        while not self.leaving.is_set():
            try:
                # As a browser does: one connection for as long as the other side keeps it.
                connection = connection or http.client.HTTPConnection(host, int(port), timeout=20)
                connection.request("GET", self.path, headers=headers)
                answer = connection.getresponse()
                text = answer.read().decode()
                self.answers.append(answer.status)
                self.pods.add(text.partition('id="pod">')[2].partition("<")[0])
                if answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.answers.append(repr(error))
                connection = None
            time.sleep(0.02)


def two_replicas():
    """A rolling update and a rotation of keys while people work."""
    with Example("two-replicas") as example:
        stranger_is_refused(example)
        alice, bob = Browser(example.origin, ALICE), Browser(example.origin, BOB)
        pods = {alice.open("/").element("pod")}
        for _ in range(8):
            page = alice.open("/")
            assert page.element("user") == ALICE and not page.signed_in_on_the_way(), page.text
            pods.add(page.element("pod"))
        assert pods == {"guestbook-1", "guestbook-2"}, pods
        assert bob.open("/").element("user") == BOB

        visitors = [Visitor(alice, "/"), Visitor(bob, "/"), Visitor(bob, "/slow")]
        for visitor in visitors:
            visitor.start()
        try:
            example.type("rotate")
            example.type("roll")
        finally:
            for visitor in visitors:
                visitor.leaving.set()
            for visitor in visitors:
                visitor.join()
        answers = [answer for visitor in visitors for answer in visitor.answers]
        failures = [answer for answer in answers if answer != 200]
        assert not failures, f"{len(failures)} of {len(answers)}: {failures[:5]}"
        seen = set().union(*(visitor.pods for visitor in visitors))
        assert seen == {f"guestbook-{number}" for number in range(1, 5)}, seen

        page = alice.open("/")
        assert page.element("user") == ALICE and not page.signed_in_on_the_way(), page.hops
        # The new pods seal with the new key; the old key's sessions end with it, and no others.
        zoe = Browser(example.origin, ZOE)
        assert zoe.open("/").element("user") == ZOE
        example.type("retire")
        assert not zoe.open("/").signed_in_on_the_way()
        page = alice.open("/")
        assert page.element("user") == ALICE and page.signed_in_on_the_way(), page.hops
        ended = [line for line in example.said if "exit code" in line]
        assert ended == [f"guestbook-{number} has ended, exit code 0" for number in (1, 2)], ended
    return f"{len(answers)} requests over a rolling update and a new key, none failed, nobody signed in again"


PROOFS = {
    "php-apache": php_apache,
    "flask-gunicorn": flask_gunicorn,
    "java-servlet": java_servlet,
    "node-appliance": node_appliance,
    "static-site": static_site,
    "websocket": websocket,
    "nginx-8k": nginx_8k,
    "two-replicas": two_replicas,
}

for name in sys.argv[1:]:
    begun = time.monotonic()
    shown = PROOFS[name]()
    print(f"{name}: {shown} ({time.monotonic() - begun:.0f} s)", flush=True)
