{{/* Names and labels. The prefix keeps them apart from the names of other charts of a release. */}}

{{- define "vestibule.chart.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 53 characters, so that "-admin" and its like still fit behind it. */}}
{{- define "vestibule.chart.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "vestibule.chart.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "vestibule.chart.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace -}}
{{- end -}}

{{- define "vestibule.chart.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "vestibule.chart.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* What selects the pods. It never changes: a Deployment's selector is immutable. */}}
{{- define "vestibule.chart.selector" -}}
app.kubernetes.io/name: {{ include "vestibule.chart.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vestibule.chart.labels" -}}
{{ include "vestibule.chart.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/*
The metadata of an object.
  root         $
  suffix       behind the usual name, or
  name         in place of it
  namespace    in place of the usual one
  labels       of this object, likewise annotations
*/}}
{{- define "vestibule.chart.metadata" -}}
name: {{ .name | default (printf "%s%s" (include "vestibule.chart.fullname" .root) (.suffix | default "")) }}
namespace: {{ .namespace | default (include "vestibule.chart.namespace" .root) }}
labels:
  {{- mergeOverwrite (dict) (.root.Values.commonLabels | default dict) (.labels | default dict) (include "vestibule.chart.labels" .root | fromYaml) | toYaml | nindent 2 }}
{{- with mergeOverwrite (dict) (.root.Values.commonAnnotations | default dict) (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Puts the dictionary that the templates of _sidecar.tpl take into .vestibuleCall. */}}
{{- define "vestibule.chart.call" -}}
{{- $call := dict "root" . "values" .Values "tag" .Chart.AppVersion "mode" "front" -}}
{{- $_ := set $call "configMap" (tpl (.Values.existingConfigMap | default (include "vestibule.chart.fullname" .)) .) -}}
{{- $_ := set . "vestibuleCall" $call -}}
{{- end -}}

{{/* The names of the app: what is said, else the host of public_url. As JSON: {"hosts": […]}. */}}
{{- define "vestibule.chart.hosts" -}}
{{- include "vestibule.chart.call" .root -}}
{{- $hosts := list -}}
{{- range .hosts }}{{ $hosts = append $hosts (tpl . $.root) }}{{ end -}}
{{- if not $hosts -}}
{{- with include "vestibule.publicUrl" .root.vestibuleCall -}}
{{- $hosts = list (get (urlParse .) "hostname") -}}
{{- end -}}
{{- end -}}
{{- if not $hosts -}}
{{- fail (printf "%s needs a host name: existingConfigMap keeps public_url from the chart" .value) -}}
{{- end -}}
{{- dict "hosts" $hosts | toJson -}}
{{- end -}}

{{/* The port of the Service. */}}
{{- define "vestibule.chart.port" -}}
{{- $tls := or .Values.tlsSecrets.server (dig "server" "tls" "certificate_file" "" (.Values.config | default dict)) -}}
{{- .Values.service.port | default (ternary 443 80 (not (empty $tls))) -}}
{{- end -}}

{{/* Least pods. */}}
{{- define "vestibule.chart.leastReplicas" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicas .Values.autoscaling.enabled | int -}}
{{- end -}}

{{/* The labels of the pod of `helm test`: not the selector's, or it would stand behind the Service. */}}
{{- define "vestibule.chart.testLabels" -}}
app.kubernetes.io/name: {{ include "vestibule.chart.name" . | trunc 58 }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* `imagePullSecrets` of a pod spec, or nothing. */}}
{{- define "vestibule.chart.pullSecrets" -}}
{{- with concat (get (.Values.global | default dict) "imagePullSecrets" | default list) (.Values.imagePullSecrets | default list) }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
