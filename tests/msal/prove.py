"""Unmodified MSAL for Python against the emulator: prove.py SETTINGS_TOML KEY_PEM CERTIFICATE_PEM"""

import base64
import html
import json
import re
import sys
import tomllib
from urllib.parse import parse_qs, urljoin, urlsplit

import msal
import requests

SETTINGS = tomllib.load(open(sys.argv[1], "rb"))
KEY, CERTIFICATE = (open(path).read() for path in sys.argv[2:4])
REDIRECT = "http://localhost:5000/callback"
CLIENT = SETTINGS["client_id"]


def check(condition, sentence):
    if not condition:
        sys.exit(f"FAILED: {sentence}")
    print(f"  {sentence}")


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def visit(browser, url):
    """Follows redirects until the browser would leave for the app; picks accounts on the way."""
    for _ in range(8):
        answer = browser.get(url, allow_redirects=False)
        if answer.is_redirect:
            url = urljoin(url, answer.headers["Location"])
            if url.startswith(REDIRECT):
                return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        else:
            link = re.search(r'href="([^"]+)" data-user="bob@contoso.test"', answer.text)
            check(link, "the page offers bob@contoso.test to pick")
            url = urljoin(url, html.unescape(link.group(1)))
    sys.exit("FAILED: redirects without end")


def sign_in(app, scopes, user=None):
    browser = requests.Session()
    flow = app.initiate_auth_code_flow(scopes, redirect_uri=REDIRECT, login_hint=user)
    return browser, app.acquire_token_by_auth_code_flow(flow, visit(browser, flow["auth_uri"]))


def prove(title, scopes, user, **options):
    print(f"MSAL for Python, {title}")
    cache = msal.TokenCache()
    app = msal.ConfidentialClientApplication(CLIENT, token_cache=cache, **options)
    browser, result = sign_in(app, scopes, user)
    check("access_token" in result, f"the code is redeemed: {result.get('error_description', 'yes')}")
    check(result["id_token_claims"]["preferred_username"] == (user or "bob@contoso.test"),
          "the ID token names the user")
    accounts = app.get_accounts()
    check(len(accounts) == 1, "the cache holds one account")
    cached = app.acquire_token_silent(scopes, accounts[0])
    check(cached["access_token"] == result["access_token"], "the access token comes from the cache")
    renewed = app.acquire_token_silent_with_error(scopes, accounts[0], force_refresh=True)
    check(renewed and "access_token" in renewed, f"a forced refresh works: {(renewed or {}).get('error_description', 'yes')}")
    check(renewed["access_token"] != result["access_token"], "and gives another access token")

    metadata = requests.get(
        f"{SETTINGS['authority']}/{SETTINGS['tenant']}/v2.0/.well-known/openid-configuration").json()
    back = browser.get(metadata["end_session_endpoint"], allow_redirects=False, params={
        "logout_hint": result["id_token_claims"]["login_hint"],
        "post_logout_redirect_uri": REDIRECT})
    check(back.headers.get("Location") == REDIRECT, "sign-out returns to the app")
    app.remove_account(accounts[0])
    check(not app.get_accounts(), "the account has left the cache")
    again = app.initiate_auth_code_flow(scopes, redirect_uri=REDIRECT, prompt="none")
    answer = visit(browser, again["auth_uri"])
    check(answer["error"] == "login_required", "and nobody is signed in any more")
    return app, renewed


SECRET = SETTINGS["client_secret"]
CERTIFIED = {"private_key": KEY, "public_certificate": CERTIFICATE}
TENANT = f"{SETTINGS['authority']}/{SETTINGS['tenant']}"

_, tokens = prove("secret, one click on the page", ["User.Read"], None,
                  authority=TENANT, client_credential=SECRET, instance_discovery=False)
graph = requests.get(f"{SETTINGS['authority']}/v1.0/me",
                     headers={"Authorization": f"Bearer {tokens['access_token']}"})
check(graph.json().get("userPrincipalName") == "bob@contoso.test", "Graph knows the token's user")

_, tokens = prove("certificate, the tenant by its domain", [f"api://{CLIENT}/access_as_user"],
                  "carol@contoso.test", client_credential=CERTIFIED, validate_authority=False,
                  authority=f"{SETTINGS['authority']}/contoso.onmicrosoft.com")
check(claims_of(tokens["access_token"])["ver"] == "2.0", "its own API has v2 tokens")

prove("OIDC authority, 250 groups", ["User.Read"], "dave@contoso.test",
      client_credential=SECRET, oidc_authority=f"{TENANT}/v2.0")

_, tokens = prove("/common, an API with v1 tokens", ["https://api.contoso.test/read"],
                  "frank@fabrikam.test", client_credential=SECRET, instance_discovery=False,
                  authority=f"{SETTINGS['authority']}/common")
check(claims_of(tokens["access_token"])["ver"] == "1.0", "the older API has v1 tokens")

print("MSAL for Python, errors and the app for itself")
wrong = msal.ConfidentialClientApplication(
    CLIENT, authority=TENANT, client_credential="wrong", instance_discovery=False)
_, result = sign_in(wrong, ["User.Read"], "alice@contoso.test")
check(result.get("error") == "invalid_client" and result["error_codes"] == [7000215],
      "a wrong secret is AADSTS7000215")
app = msal.ConfidentialClientApplication(
    CLIENT, authority=TENANT, client_credential=CERTIFIED, instance_discovery=False)
result = app.acquire_token_for_client([f"api://{CLIENT}/.default"])
check(claims_of(result["access_token"])["idtyp"] == "app", "client credentials give an app token")
_, user = sign_in(app, [f"api://{CLIENT}/access_as_user"], "erin@contoso.test")
result = app.acquire_token_on_behalf_of(user["access_token"], ["User.Read"])
check("access_token" in result, "on behalf of its caller, the API gets a Graph token")
