{{/*
The proxy's container, its volume and its configuration: one text for both charts. helm/vestibule
holds a copy of this file, and a test keeps the two equal. With the values' defaults the container is
the one that `vestibule inject` writes.

Every template here takes one dictionary:
  root       the context of the chart that includes it ($)
  values     our values: image, config, existingSecret ...
  configMap  the name of the ConfigMap
  tag        the image's tag where the values name none
  mode       "native", "container", or "front" for a proxy in a pod of its own
*/}}

{{/* The image: registry, repository, tag and digest. */}}
{{- define "vestibule.image" -}}
{{- $image := .values.image -}}
{{- $global := .root.Values.global | default dict -}}
{{- with $global.imageRegistry }}{{ printf "%s/" (trimSuffix "/" .) }}{{ end -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .tag) -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* The container, without the dash of a list. Ports are numbers wherever they are referred to. */}}
{{- define "vestibule.container" -}}
{{- $values := .values -}}
{{- $admin := dig "admin" "listen" "0.0.0.0:4191" ($values.config | default dict) -}}
name: vestibule
image: {{ include "vestibule.image" . | quote }}
{{- with $values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- if eq .mode "native" }}
restartPolicy: Always
{{- end }}
args:
  - run
{{- range $values.extraArgs }}
  - {{ tpl . $.root | quote }}
{{- end }}
env:
  # The kubelet and Prometheus call the pod's address.
  - name: VESTIBULE__ADMIN__LISTEN
    value: {{ $admin | quote }}
{{- with $values.extraEnv }}
  {{- tpl (toYaml .) $.root | nindent 2 }}
{{- end }}
{{- with $values.envFrom }}
envFrom:
  {{- tpl (toYaml .) $.root | nindent 2 }}
{{- end }}
ports:
  - name: auth
    containerPort: 4180
  - name: auth-admin
    containerPort: 4191
startupProbe:
  httpGet:
    path: /livez
    port: 4191
  periodSeconds: 1
  failureThreshold: 30
readinessProbe:
  httpGet:
    path: /readyz
    port: 4191
  periodSeconds: 5
livenessProbe:
  httpGet:
    path: /livez
    port: 4191
lifecycle:
{{- with $values.lifecycle }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  preStop:
    exec:
      command:
        - /vestibule
        - drain
        - --wait=15s
{{- end }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
volumeMounts:
  # A folder, never subPath: that one never sees a change.
  - name: vestibule
    mountPath: /etc/vestibule
    readOnly: true
{{- with $values.extraVolumeMounts }}
  {{- tpl (toYaml .) $.root | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The volume: configuration, secrets and certificates in one folder, without the dash of a list. */}}
{{- define "vestibule.volume" -}}
{{- $values := .values -}}
name: vestibule
projected:
  sources:
    - configMap:
        name: {{ .configMap }}
{{- with $values.existingSecret }}
    - secret:
        name: {{ tpl . $.root }}
{{- end }}
{{- range $use, $name := $values.tlsSecrets }}
{{- if $name }}
    - secret:
        name: {{ tpl $name $.root }}
        items:
          - key: tls.crt
            path: {{ $use }}/tls.crt
          - key: tls.key
            path: {{ $use }}/tls.key
{{- end }}
{{- end }}
{{- with $values.upstreamCA }}
{{- if or .configMap .secret }}
    - {{ ternary "configMap" "secret" (not (empty .configMap)) }}:
        name: {{ tpl (.configMap | default .secret) $.root }}
        items:
          - key: {{ .key }}
            path: upstream-ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{/* What the pod may take to end, seconds: the app's sleep 20, server.drain_timeout, and some. */}}
{{- define "vestibule.leastGracePeriod" -}}
{{- $text := dig "server" "drain_timeout" "30s" (.values.config | default dict) | toString -}}
{{- $number := regexFind "^[0-9]+" $text | int64 -}}
{{- $unit := regexFind "[a-z]+$" $text -}}
{{- $seconds := get (dict "s" $number "m" (mul $number 60) "h" (mul $number 3600) "d" (mul $number 86400)) $unit | default 0 -}}
{{- add 45 $seconds -}}
{{- end -}}

{{/* The grace period: the one of the values, if it is long enough. */}}
{{- define "vestibule.grace" -}}
{{- $least := include "vestibule.leastGracePeriod" . | int64 -}}
{{- $wanted := .values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $wanted }}{{ $least -}}
{{- else if and (lt (int64 $wanted) $least) (not .values.existingConfigMap) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d: the pod needs %d, 45 and server.drain_timeout, or connections are cut" (int64 $wanted) $least) -}}
{{- else }}{{ int64 $wanted }}{{ end -}}
{{- end -}}

{{/* proxy.toml: the values' config, and the files that the secrets are mounted as. */}}
{{- define "vestibule.proxyToml" -}}
{{- $values := .values -}}
{{- $config := deepCopy ($values.config | default dict) -}}
{{- $server := get $config "server" | default dict -}}
{{- $entra := get $config "entra" | default dict -}}
{{- $session := get $config "session" | default dict -}}
{{- $upstream := get $config "upstream" | default dict -}}
{{- if and $values.existingSecret (not $session.keys_file) -}}
  {{- $_ := set $session "keys_file" (printf "/etc/vestibule/%s" $values.secretKeys.sessionKeys) -}}
{{- end -}}
{{- if and $values.existingSecret (eq (include "vestibule.credential" .) "secret") (not $entra.client_secret_file) -}}
  {{- $_ := set $entra "client_secret_file" (printf "/etc/vestibule/%s" $values.secretKeys.clientSecret) -}}
{{- end -}}
{{- if and $values.existingSecret (eq ($session.store | default "cookie") "redis") (not $session.redis_url_file) -}}
  {{- $_ := set $session "redis_url_file" (printf "/etc/vestibule/%s" $values.secretKeys.redisUrl) -}}
{{- end -}}
{{- $tls := get $server "tls" | default dict -}}
{{- range $use, $table := dict "server" $tls "entra" $entra "upstream" $upstream -}}
  {{- if get $values.tlsSecrets $use -}}
    {{- $_ := set $table "certificate_file" (printf "/etc/vestibule/%s/tls.crt" $use) -}}
    {{- $_ := set $table "private_key_file" (printf "/etc/vestibule/%s/tls.key" $use) -}}
  {{- end -}}
{{- end -}}
{{- if or $values.upstreamCA.configMap $values.upstreamCA.secret -}}
  {{- $_ := set $upstream "ca_file" "/etc/vestibule/upstream-ca.crt" -}}
{{- end -}}
{{- if $tls }}{{ $_ := set $server "tls" $tls }}{{ end -}}
{{- range $name, $table := dict "server" $server "entra" $entra "session" $session "upstream" $upstream -}}
  {{- if $table }}{{ $_ := set $config $name $table }}{{ end -}}
{{- end -}}
{{- include "vestibule.toml" (dict "root" .root "table" $config "path" "") | trim -}}
{{- end -}}

{{/*
A table as TOML. Helm's own toToml writes every whole number of a values file as 2.0.
  table  the table
  path   its name with a dot behind it, or nothing
*/}}
{{- define "vestibule.toml" -}}
{{- $tables := list -}}
{{- range $key, $value := .table -}}
{{- $name := ternary $key (toRawJson $key) (regexMatch "^[A-Za-z0-9_-]+$" $key) -}}
{{- if kindIs "map" $value -}}
{{- $tables = append $tables (dict "head" (printf "[%s%s]" $.path $name) "table" $value "path" (printf "%s%s." $.path $name) "root" $.root) -}}
{{- else if and (kindIs "slice" $value) $value (kindIs "map" (first $value)) -}}
{{- range $value -}}
{{- $tables = append $tables (dict "head" (printf "[[%s%s]]" $.path $name) "table" . "path" (printf "%s%s." $.path $name) "root" $.root) -}}
{{- end -}}
{{- else if not (kindIs "invalid" $value) }}
{{ $name }} = {{ include "vestibule.tomlValue" (dict "root" $.root "value" $value) }}
{{- end -}}
{{- end -}}
{{- range $tables }}

{{ .head }}
{{- include "vestibule.toml" . -}}
{{- end -}}
{{- end -}}

{{/* A value as TOML. A JSON string is a TOML string; templates in strings are filled in first. */}}
{{- define "vestibule.tomlValue" -}}
{{- if kindIs "string" .value -}}
{{- tpl .value .root | toRawJson -}}
{{- else if kindIs "slice" .value -}}
[{{ range $index, $item := .value }}{{ if $index }}, {{ end }}{{ include "vestibule.tomlValue" (dict "root" $.root "value" $item) }}{{ end }}]
{{- else if kindIs "float64" .value -}}
{{- ternary (int64 .value) .value (eq (floor .value) .value) -}}
{{- else -}}
{{- .value -}}
{{- end -}}
{{- end -}}

{{/* server.public_url without a slash at its end; nothing where an existing ConfigMap says it. */}}
{{- define "vestibule.publicUrl" -}}
{{- $url := dig "server" "public_url" "" (.values.config | default dict) -}}
{{- tpl $url .root | trimSuffix "/" -}}
{{- end -}}

{{/* How the proxy proves itself to Microsoft: identity, certificate, secret, or nothing. */}}
{{- define "vestibule.credential" -}}
{{- $values := .values -}}
{{- $entra := get ($values.config | default dict) "entra" | default dict -}}
{{- $found := list -}}
{{- if or $values.workloadIdentity.enabled $entra.federated_token_file }}{{ $found = append $found "identity" }}{{ end -}}
{{- if or $values.tlsSecrets.entra $entra.certificate_file }}{{ $found = append $found "certificate" }}{{ end -}}
{{- if $entra.client_secret_file -}}
{{- $found = append $found "secret" -}}
{{- else if and (empty $found) $values.existingSecret $values.secretKeys.clientSecret -}}
{{- $found = append $found "secret" -}}
{{- end -}}
{{- if gt (len $found) 1 -}}
{{- fail (printf "there are two credentials, %s: keep one of workloadIdentity, tlsSecrets.entra, a client secret" (join " and " $found)) -}}
{{- end -}}
{{- first $found | default "nothing" -}}
{{- end -}}

{{/* Refuses what cannot work, each with a sentence. */}}
{{- define "vestibule.guard" -}}
{{- $values := .values -}}
{{- $config := $values.config | default dict -}}
{{- $make := printf "vestibule keygen > session-keys && kubectl create secret generic vestibule --namespace %s --from-file=session-keys --from-file=client-secret" ($values.namespaceOverride | default .root.Release.Namespace) -}}
{{- if and $values.existingConfigMap $config -}}
{{- fail "config and existingConfigMap are both set: say it in one of them" -}}
{{- end -}}
{{- range $use, $name := $values.tlsSecrets -}}
{{- if and $name $values.existingConfigMap -}}
{{- fail (printf "tlsSecrets.%s would need a line in the ConfigMap %s: name certificate_file and private_key_file there, and mount the Secret by extraVolumes" $use $values.existingConfigMap) -}}
{{- end -}}
{{- end -}}
{{- if and $values.upstreamCA.configMap $values.upstreamCA.secret -}}
{{- fail "upstreamCA names a ConfigMap and a Secret: keep one" -}}
{{- end -}}
{{- if not $values.existingConfigMap -}}
{{- range $key := list "entra.client_secret" "session.keys" "session.redis_url" -}}
{{- $path := splitList "." $key -}}
{{- if dig (first $path) (last $path) "" $config -}}
{{- fail (printf "config.%s would stand in a ConfigMap, where everybody in the namespace reads it: put it into a Secret and name that one in existingSecret: %s" $key $make) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "server.public_url" "entra.tenant" "entra.client_id" "upstream.url" -}}
{{- $path := splitList "." $key -}}
{{- $by_webhook := and $values.workloadIdentity.enabled (eq (first $path) "entra") -}}
{{- if and (not (dig (first $path) (last $path) "" $config)) (not $by_webhook) -}}
{{- fail (printf "config.%s is missing" $key) -}}
{{- end -}}
{{- end -}}
{{- $pairs := list (list "tlsSecrets.server" $values.tlsSecrets.server "config.server.tls.certificate_file" (dig "server" "tls" "certificate_file" "" $config)) (list "tlsSecrets.upstream" $values.tlsSecrets.upstream "config.upstream.certificate_file" (dig "upstream" "certificate_file" "" $config)) (list "upstreamCA" (or $values.upstreamCA.configMap $values.upstreamCA.secret) "config.upstream.ca_file" (dig "upstream" "ca_file" "" $config)) (list "tlsSecrets.entra" $values.tlsSecrets.entra "config.entra.certificate_file" (dig "entra" "certificate_file" "" $config)) -}}
{{- range $pairs -}}
{{- if and (index . 1) (index . 3) -}}
{{- fail (printf "%s and %s are both set: keep one" (index . 0) (index . 2)) -}}
{{- end -}}
{{- end -}}
{{- $credential := include "vestibule.credential" . -}}
{{- if eq $credential "nothing" -}}
{{- fail (printf "there is no credential for Microsoft: set existingSecret, tlsSecrets.entra or workloadIdentity. A Secret is made by: %s" $make) -}}
{{- end -}}
{{- if not (or $values.existingSecret (dig "session" "keys_file" "" $config)) -}}
{{- fail (printf "there are no session keys: set existingSecret. It is made by: %s" $make) -}}
{{- end -}}
{{- if and (eq (dig "session" "store" "cookie" $config) "redis") (not (or $values.existingSecret (dig "session" "redis_url_file" "" $config))) -}}
{{- fail (printf "session.store is redis, and there is no URL of it: name the Secret with the key %s in existingSecret" $values.secretKeys.redisUrl) -}}
{{- end -}}
{{- $listen := dig "server" "listen" "0.0.0.0:4180" $config -}}
{{- if or (not (hasSuffix ":4180" $listen)) (hasPrefix "127." $listen) (hasPrefix "localhost" $listen) (hasPrefix "[::1]" $listen) -}}
{{- fail (printf "config.server.listen is %q: the Service comes to port 4180 of the pod's own address" $listen) -}}
{{- end -}}
{{- $admin := dig "admin" "listen" "0.0.0.0:4191" $config -}}
{{- if or (not (hasSuffix ":4191" $admin)) (hasPrefix "127." $admin) (hasPrefix "localhost" $admin) (hasPrefix "[::1]" $admin) -}}
{{- fail (printf "config.admin.listen is %q: the kubelet asks port 4191 of the pod's own address" $admin) -}}
{{- end -}}
{{- $url := tpl (dig "upstream" "url" "" $config) .root -}}
{{- $loopback := or (hasPrefix "unix:" $url) (regexMatch "^https?://(127\\.[0-9.]+|localhost|\\[::1\\])(:|/|$)" $url) -}}
{{- if and (eq .mode "front") $loopback (empty $values.extraContainers) -}}
{{- fail (printf "config.upstream.url is %q, which is the proxy's own pod: name the app's Service, such as http://app.%s.svc:80" $url .root.Release.Namespace) -}}
{{- end -}}
{{- if and (ne .mode "front") (not $loopback) -}}
{{- fail (printf "config.upstream.url is %q: the proxy is in the app's pod, where the app is on 127.0.0.1" $url) -}}
{{- end -}}
{{- end -}}
{{- end -}}
