"""The floor and the peers: how each is found, configured, started, and signed in to."""

import base64
import json
import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from browser import Browser, cookie_header
from process import Process, free_port

ORDINARY = "bob@contoso.test"
LARGEST = "grace@contoso.test"
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Authority:
    """The emulator, as a client knows it."""

    base: str
    tenant: str
    client_id: str
    client_secret: str

    @property
    def issuer(self) -> str:
        """What an OpenID client is configured with."""
        return f"{self.base}/{self.tenant}/v2.0"

    @property
    def scope(self) -> str:
        """Microsoft Graph, as by default: its tokens are the largest and cannot be made smaller."""
        return "User.Read"


@dataclass(frozen=True)
class Setting:
    """What every peer is told."""

    folder: Path
    app_port: int
    authority: Authority
    access_log: bool


@dataclass
class Target:
    """One kind of load: a row of the table."""

    name: str
    port: int
    prefix: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    process: Process | None = None

    def url(self, size: str) -> str:
        """Where the answer of this size is."""
        return f"http://127.0.0.1:{self.port}{self.prefix}/{size}"


class Peer:
    """A program that stands in front of the app."""

    name = ""
    variable = ""
    program = ""
    places: tuple[str, ...] = ()
    users: dict[str, str] = {}

    def __init__(self) -> None:
        self.process: Process | None = None
        self.port = 0

    def find(self) -> str | None:
        """The program: from the environment, the PATH, or where distributions put it."""
        named = os.environ.get(self.variable)
        if named:
            return shutil.which(named)
        found = shutil.which(self.program)
        return found or next((place for place in self.places if Path(place).exists()), None)

    def start(self, setting: Setting) -> None:
        """Starts it and waits until it listens."""
        program = self.find()
        if program is None:
            raise RuntimeError(f"{self.name} is not there")
        self.port = free_port()
        folder = setting.folder / self.name.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        command = self.command(program, folder, setting)
        self.process = Process(command, folder / "output.log", self.environment(folder))
        self.process.wait_for_port(self.port)

    def command(self, program: str, folder: Path, setting: Setting) -> list[str]:
        """Writes the configuration; returns how to run the program with it."""
        raise NotImplementedError

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables that the program needs."""
        return {}

    def targets(self) -> list[Target]:
        """The loads, after signing in where that is part of them."""
        found = []
        for label, user in self.users.items():
            cookies = Browser(user).sign_in(f"http://127.0.0.1:{self.port}/1k")
            headers = {"Cookie": cookie_header(cookies)} if cookies else {}
            found.append(Target(label, self.port, "", headers, self.process))
        return found

    def stop(self) -> None:
        """Stops it."""
        if self.process:
            self.process.stop()
            self.process = None


class Nginx(Peer):
    name = "nginx"
    variable = "NGINX"
    program = "nginx"
    places = ("/usr/sbin/nginx",)

    def command(self, program, folder, setting):
        log = f"access_log {folder}/access.log;" if setting.access_log else "access_log off;"
        config = folder / "nginx.conf"
        config.write_text(f"""
worker_processes {CORES};
worker_rlimit_nofile 20000;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
  {log}
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000000; keepalive_timeout 300s;
  large_client_header_buffers 8 32k;
  upstream app {{
    server 127.0.0.1:{setting.app_port};
    keepalive 256; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Request-Id $request_id;
      proxy_set_header Host $http_host;
    }}
  }}
}}
""")
        return [program, "-c", str(config), "-p", str(folder), "-e", f"{folder}/start.log"]

    def targets(self):
        return [Target("nginx, plain proxy", self.port, process=self.process)]


class HaProxy(Peer):
    name = "haproxy"
    variable = "HAPROXY"
    program = "haproxy"
    places = ("/usr/sbin/haproxy",)

    def command(self, program, folder, setting):
        log = "log stdout format raw local0\n  option httplog" if setting.access_log else ""
        config = folder / "haproxy.cfg"
        config.write_text(f"""
global
  nbthread {CORES}
  maxconn 12000
  no strict-limits
defaults
  mode http
  {log}
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  option forwardfor
frontend front
  bind 127.0.0.1:{self.port} backlog 4096
  unique-id-format %{{+X}}o%ci%cp%fi%fp%Ts%rt%pid
  unique-id-header X-Request-Id
  default_backend app
backend app
  http-reuse always
  http-request set-header X-Forwarded-Proto http
  server app 127.0.0.1:{setting.app_port} pool-max-conn 256
""")
        return [program, "-db", "-f", str(config)]

    def targets(self):
        return [Target("HAProxy, plain proxy", self.port, process=self.process)]


class Apache(Peer):
    name = "apache"
    variable = "APACHE"
    program = "apache2"
    places = ("/usr/sbin/apache2", "/usr/sbin/httpd")
    users = {"Apache + mod_auth_openidc, signed in": ORDINARY}

    @staticmethod
    def modules() -> Path | None:
        """Where the modules are, if the one that signs in is among them."""
        places = [os.environ.get("APACHE_MODULES", ""), "/usr/lib/apache2/modules",
                  "/usr/lib64/httpd/modules"]
        found = (Path(place) for place in places if place)
        return next((place for place in found if (place / "mod_auth_openidc.so").exists()), None)

    def find(self):
        return super().find() if self.modules() else None

    def command(self, program, folder, setting):
        modules = ("mpm_event", "authn_core", "authz_core", "authz_user", "log_config", "proxy",
                   "proxy_http", "unixd", "auth_openidc")
        # Distributions compile some of them in.
        load = "\n".join(f"<IfModule !{name}_module>\nLoadModule {name}_module "
                         f"{self.modules()}/mod_{name}.so\n</IfModule>" for name in modules)
        log = ""
        if setting.access_log:
            log = f'CustomLog {folder}/access.log "%h %l %u %t \\"%r\\" %>s %b"'
        authority = setting.authority
        config = folder / "httpd.conf"
        config.write_text(f"""
ServerRoot {folder}
ServerName 127.0.0.1
PidFile {folder}/pid
DefaultRuntimeDir {folder}
Listen 127.0.0.1:{self.port}
{load}
User nobody
Group nogroup
ErrorLog {folder}/error.log
LogLevel error
{log}
StartServers {CORES}
ServerLimit {CORES}
ThreadsPerChild 256
ThreadLimit 256
MaxRequestWorkers {CORES * 256}
MinSpareThreads 1
MaxSpareThreads {CORES * 256}
AsyncRequestWorkerFactor 64
MaxConnectionsPerChild 0
MaxKeepAliveRequests 0
KeepAliveTimeout 300
LimitRequestFieldSize 65536
OIDCProviderMetadataURL {authority.issuer}/.well-known/openid-configuration
OIDCClientID {authority.client_id}
OIDCClientSecret {authority.client_secret}
OIDCRedirectURI http://127.0.0.1:{self.port}/oidc/callback
OIDCCryptoPassphrase {secrets.token_hex(16)}
OIDCScope "openid profile offline_access {authority.scope}"
OIDCPKCEMethod S256
OIDCSessionType client-cookie
OIDCSessionInactivityTimeout 36000
OIDCSessionMaxDuration 0
OIDCSessionCookieChunkSize 4000
OIDCPassIDTokenAs claims
OIDCPassClaimsAs headers
<Location />
  AuthType openid-connect
  Require valid-user
</Location>
ProxyPass /oidc/ !
ProxyPass / http://127.0.0.1:{setting.app_port}/ keepalive=On
""")
        return [program, "-DFOREGROUND", "-f", str(config)]


class Envoy(Peer):
    name = "envoy"
    variable = "ENVOY"
    program = "envoy"
    users = {"Envoy, oauth2 filter, signed in": ORDINARY}

    def command(self, program, folder, setting):
        authority = setting.authority
        host, port = authority.base.removeprefix("http://").split(":")
        types = "type.googleapis.com/envoy.extensions"

        def cluster(name: str, host: str, port: int) -> dict:
            socket = {"socket_address": {"address": host, "port_value": port}}
            endpoint = {"lb_endpoints": [{"endpoint": {"address": socket}}]}
            return {"name": name, "type": "STATIC", "connect_timeout": "5s",
                    "load_assignment": {"cluster_name": name, "endpoints": [endpoint]}}

        def secret(name: str, text: str) -> dict:
            return {"name": name, "generic_secret": {"secret": {"inline_string": text}}}

        endpoints = f"{authority.base}/{authority.tenant}/oauth2/v2.0"
        oauth2 = {
            "token_endpoint": {"cluster": "emulator", "uri": f"{endpoints}/token", "timeout": "5s"},
            "authorization_endpoint": f"{endpoints}/authorize",
            "redirect_uri": f"http://127.0.0.1:{self.port}/callback",
            "redirect_path_matcher": {"path": {"exact": "/callback"}},
            "signout_path": {"path": {"exact": "/signout"}},
            "credentials": {"client_id": authority.client_id, "token_secret": {"name": "token"},
                            "hmac_secret": {"name": "hmac"}},
            "auth_scopes": ["openid", "profile", "offline_access", authority.scope],
            "forward_bearer_token": True,
            "use_refresh_token": True,
        }
        filters = [
            {"name": "envoy.filters.http.oauth2", "typed_config": {
                "@type": f"{types}.filters.http.oauth2.v3.OAuth2", "config": oauth2}},
            {"name": "envoy.filters.http.router", "typed_config": {
                "@type": f"{types}.filters.http.router.v3.Router"}},
        ]
        manager = {
            "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "front",
            "use_remote_address": True,
            "http_filters": filters,
            "route_config": {"virtual_hosts": [{"name": "app", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}]},
        }
        if setting.access_log:
            manager["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": {
                "@type": f"{types}.access_loggers.file.v3.FileAccessLog",
                "path": str(folder / "access.log")}}]
        listener = {
            "name": "front",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.port}},
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
        }
        config = folder / "envoy.json"
        config.write_text(json.dumps({"static_resources": {
            "listeners": [listener],
            "clusters": [cluster("app", "127.0.0.1", setting.app_port),
                         cluster("emulator", host, int(port))],
            "secrets": [secret("token", authority.client_secret),
                        secret("hmac", secrets.token_hex(32))],
        }}))
        return [program, "-c", str(config), "--concurrency", str(CORES), "--log-level", "error",
                "--disable-hot-restart"]


class OAuth2Proxy(Peer):
    name = "oauth2-proxy"
    variable = "OAUTH2_PROXY"
    program = "oauth2-proxy"
    users = {"oauth2-proxy, signed in": ORDINARY}

    def command(self, program, folder, setting):
        authority = setting.authority
        logging = "true" if setting.access_log else "false"
        config = folder / "oauth2-proxy.cfg"
        config.write_text(f"""
provider = "oidc"
oidc_issuer_url = "{authority.issuer}"
oidc_email_claim = "preferred_username"
insecure_oidc_allow_unverified_email = true
client_id = "{authority.client_id}"
client_secret = "{authority.client_secret}"
scope = "openid profile offline_access {authority.scope}"
code_challenge_method = "S256"
cookie_secret = "{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}"
cookie_secure = false
http_address = "127.0.0.1:{self.port}"
redirect_url = "http://127.0.0.1:{self.port}/oauth2/callback"
upstreams = ["http://127.0.0.1:{setting.app_port}/"]
email_domains = ["*"]
skip_provider_button = true
pass_access_token = true
request_logging = {logging}
standard_logging = {logging}
auth_logging = {logging}
""")
        return [program, "--config", str(config)]


class Vestibule(Peer):
    name = "vestibule"
    variable = "VESTIBULE"
    program = "vestibule"
    # What was just built, not what happens to be installed.
    built = Path(__file__).resolve().parents[2] / "target" / "release" / "vestibule"
    users = {"Vestibule, signed in, 10 groups": ORDINARY,
             "Vestibule, signed in, 200 groups": LARGEST}

    def find(self):
        named = os.environ.get(self.variable)
        return shutil.which(named or self.built)

    def command(self, program, folder, setting):
        authority = setting.authority
        key = subprocess.run([program, "keygen"], check=True, capture_output=True, text=True)
        level = "info" if setting.access_log else "info,vestibule::access=warn"
        config = folder / "proxy.toml"
        config.write_text(f"""
[server]
listen = "127.0.0.1:{self.port}"
public_url = "http://127.0.0.1:{self.port}"
[server.limits]
idle_time = "5m"
[admin]
listen = "127.0.0.1:{free_port()}"
[entra]
authority = "{authority.base}"
tenant = "{authority.tenant}"
client_id = "{authority.client_id}"
client_secret = "{authority.client_secret}"
scopes = ["{authority.scope}"]
[session]
keys = ["{key.stdout.split()[0]}"]
[upstream]
url = "http://127.0.0.1:{setting.app_port}"
[log]
level = "{level}"
format = "json"
[[rules]]
path = "/public/*"
access = "anonymous"
""")
        return [program, "run", "--config", str(config)]

    def targets(self):
        anonymous = Target("Vestibule, anonymous rule", self.port, "/public", {}, self.process)
        return [anonymous, *super().targets()]


def all_peers() -> list[Peer]:
    """Everybody who can take part, the floor first and we last."""
    return [Nginx(), HaProxy(), Apache(), Envoy(), OAuth2Proxy(), Vestibule()]
