{{/*
What the chart of an app includes. The dependency has the alias "vestibule", so that its values are
the section "vestibule" of the chart's own.
*/}}

{{/* The dictionary that the templates of _sidecar.tpl take. Context: $ of the app's chart. */}}
{{- define "vestibule.call" -}}
{{- if not (hasKey .Values "vestibule") -}}
{{- fail "the dependency vestibule-lib needs the line `alias: vestibule` in Chart.yaml" -}}
{{- end -}}
{{- $call := dict "root" . "values" .Values.vestibule "tag" .Values.vestibule.image.tag "mode" .Values.vestibule.mode -}}
{{- $_ := set $call "configMap" (include "vestibule.configMapName" .) -}}
{{- $_ := set . "vestibuleCall" $call -}}
{{- end -}}

{{/* The name of the ConfigMap with proxy.toml. */}}
{{- define "vestibule.configMapName" -}}
{{- tpl (.Values.vestibule.existingConfigMap | default (printf "%s-vestibule" (.Release.Name | trunc 53))) . -}}
{{- end -}}

{{/* The container, as an item of `initContainers` (mode native) or of `containers` (mode container). */}}
{{- define "vestibule.sidecar" -}}
{{- include "vestibule.call" . -}}
{{- include "vestibule.guard" .vestibuleCall -}}
- {{ include "vestibule.container" .vestibuleCall | nindent 2 | trim }}
{{- end -}}

{{/* The volume, as an item of `volumes`. */}}
{{- define "vestibule.volumes" -}}
{{- include "vestibule.call" . -}}
- {{ include "vestibule.volume" .vestibuleCall | nindent 2 | trim }}
{{- end -}}

{{/* The number for `terminationGracePeriodSeconds`. */}}
{{- define "vestibule.gracePeriod" -}}
{{- include "vestibule.call" . -}}
{{- include "vestibule.grace" .vestibuleCall -}}
{{- end -}}

{{/* The app's `preStop`: it stays while the proxy drains. Needs no shell in the app's image. */}}
{{- define "vestibule.appPreStop" -}}
sleep:
  seconds: 20
{{- end -}}

{{/* The number for the Service's `targetPort`. */}}
{{- define "vestibule.port" -}}
4180
{{- end -}}

{{/*
A probe of the app through the proxy, for `httpGet`. The path needs a rule with access = "anonymous".
  context  $
  path     what to ask
*/}}
{{- define "vestibule.appProbe" -}}
{{- include "vestibule.call" .context -}}
{{- $call := .context.vestibuleCall -}}
{{- $url := include "vestibule.publicUrl" $call -}}
path: {{ .path }}
port: 4180
{{- if or $call.values.tlsSecrets.server (dig "server" "tls" "certificate_file" "" ($call.values.config | default dict)) }}
scheme: HTTPS
{{- end }}
httpHeaders:
  - name: Host
    value: {{ .host | default (get (urlParse $url) "host") | required "the probe needs a host: with existingConfigMap, say (dict … \"host\" \"app.contoso.com\")" | quote }}
{{- end -}}

{{/*
`labels` and `annotations` of the pod template.
  context      $
  container    the name of the app's container
  labels       the app's own, a dictionary
  annotations  likewise, or nothing
*/}}
{{- define "vestibule.podMeta" -}}
{{- include "vestibule.call" .context -}}
{{- $call := .context.vestibuleCall -}}
{{- $labels := dict -}}
{{- $annotations := dict "kubectl.kubernetes.io/default-container" .container -}}
{{- if eq (include "vestibule.credential" $call) "identity" -}}
{{- $_ := set $labels "azure.workload.identity/use" "true" -}}
{{- $_ := set $annotations "azure.workload.identity/skip-containers" .container -}}
{{- end -}}
{{- if and $call.values.rolloutOnConfigChange (not $call.values.existingConfigMap) -}}
{{- $_ := set $annotations "checksum/config" (include "vestibule.proxyToml" $call | sha256sum) -}}
{{- end -}}
labels:
  {{- merge $labels (.labels | default dict) | toYaml | nindent 2 }}
annotations:
  {{- merge $annotations (.annotations | default dict) | toYaml | nindent 2 }}
{{- end -}}

{{/* The ConfigMap; nothing where an existing one is named. */}}
{{- define "vestibule.configMap" -}}
{{- include "vestibule.call" . -}}
{{- include "vestibule.guard" .vestibuleCall -}}
{{- if not .Values.vestibule.existingConfigMap -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "vestibule.configMapName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    app.kubernetes.io/instance: {{ .Release.Name }}
    app.kubernetes.io/managed-by: {{ .Release.Service }}
data:
  proxy.toml: |
    {{- include "vestibule.proxyToml" .vestibuleCall | nindent 4 }}
{{- end -}}
{{- end -}}

{{/*
The NetworkPolicy: the proxy's port is open, the app's is not.
  context   $
  name      of the workload
  selector  the labels that pick its pods, a dictionary
*/}}
{{- define "vestibule.networkPolicy" -}}
{{- $values := .context.Values.vestibule.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}-vestibule
  namespace: {{ .context.Release.Namespace }}
spec:
  podSelector:
    matchLabels:
      {{- toYaml .selector | nindent 6 }}
  policyTypes:
    - Ingress
  ingress:
    - ports:
        - protocol: TCP
          port: 4180
{{- with $values.from }}
      from:
        {{- toYaml . | nindent 8 }}
{{- end }}
{{- with $values.monitoringNamespace }}
    - from:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: {{ . }}
      ports:
        - protocol: TCP
          port: 4191
{{- end }}
{{- end -}}
