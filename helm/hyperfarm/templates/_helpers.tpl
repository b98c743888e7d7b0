{{/* Name of everything that belongs to the release. */}}
{{- define "hyperfarm.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* What selects the pods of a role; never changes during the life of a release. Takes (dict "top" . "role" "…"). */}}
{{- define "hyperfarm.selector" -}}
app.kubernetes.io/name: {{ .top.Chart.Name }}
app.kubernetes.io/instance: {{ .top.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "hyperfarm.labels" -}}
{{ include "hyperfarm.selector" . }}
app.kubernetes.io/version: {{ .top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .top.Chart.Name .top.Chart.Version }}
{{- end }}

{{- define "hyperfarm.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "hyperfarm.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{/*
A worker pool with what it does not say, as YAML. Takes (dict "top" $ "pool" .). Member by member, because the merges of the
template language take 0 and false for nothing.
*/}}
{{- define "hyperfarm.pool" -}}
{{- $pool := deepCopy .top.Values.workerDefaults -}}
{{- range $member, $value := .pool -}}
{{- if eq $member "scaling" -}}
{{- range $inner, $number := $value }}{{ $_ := set $pool.scaling $inner $number }}{{ end -}}
{{- else -}}
{{- $_ := set $pool $member $value -}}
{{- end -}}
{{- end -}}
{{- if not $pool.pool }}{{ $_ := set $pool "pool" $pool.name }}{{ end -}}
{{- toYaml $pool -}}
{{- end }}

{{/* Labels and annotations of a role's pods. Takes (dict "top" . "role" "…" "of" its values). */}}
{{- define "hyperfarm.podMetadata" -}}
labels:
  {{- include "hyperfarm.labels" . | nindent 2 }}
  {{- with .of.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  {{- $evict := dict "cluster-autoscaler.kubernetes.io/safe-to-evict" (toString .of.safeToEvict) }}
  {{- merge (dict) .of.podAnnotations $evict | toYaml | nindent 2 }}
{{- end }}

{{/* What every pod has before its containers. Nothing of the farm talks to Kubernetes. */}}
{{- define "hyperfarm.pod" -}}
{{- $granted := and .top.Values.storageGrants.enabled (ne .role "coordinator") }}
{{- with .top -}}
serviceAccountName: {{ if $granted }}default{{ else }}{{ include "hyperfarm.serviceAccount" . }}{{ end }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where a role's pods go. Takes (dict "top" . "role" "…" "of" its values). */}}
{{- define "hyperfarm.placement" -}}
{{- $context := . -}}
{{- with .of }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml . | nindent 4 }}
    {{- if not .labelSelector }}
    labelSelector:
      matchLabels:
        {{- include "hyperfarm.selector" $context | nindent 8 }}
    {{- end }}
  {{- end }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with .initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Takes (dict "top" . "image" …). */}}
{{- define "hyperfarm.image" -}}
{{- if .image.digest }}
image: {{ printf "%s@%s" .image.repository .image.digest | quote }}
{{- else }}
image: {{ printf "%s:%s" .image.repository (.image.tag | default .top.Chart.AppVersion) | quote }}
{{- end }}
imagePullPolicy: {{ .image.pullPolicy }}
{{- end }}

{{/* The root file system is read-only; what a role writes goes into TMPDIR, a volume of its own. */}}
{{- define "hyperfarm.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
{{- end }}

{{- define "hyperfarm.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
{{- end }}

{{- define "hyperfarm.fromSecret" -}}
valueFrom: { secretKeyRef: { name: {{ .top.Values.secretName | quote }}, key: {{ .key | quote }} } }
{{- end }}

{{/* The variables of every role. Takes (dict "top" . "role" …). */}}
{{- define "hyperfarm.env" -}}
{{- $granted := and .top.Values.storageGrants.enabled (ne .role "coordinator") }}
{{- with .top }}
{{- if .Values.rabbitmq.enabled }}
- name: RABBITMQ_PASSWORD
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "rabbitmq-password") | nindent 2 }}
{{- else }}
- name: HYPERFARM_AMQP_URL
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "amqp-url") | nindent 2 }}
{{- end }}
{{- if .Values.redis.enabled }}
- name: REDIS_PASSWORD
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "redis-password") | nindent 2 }}
{{- else }}
- name: HYPERFARM_REDIS_URL
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "redis-url") | nindent 2 }}
{{- end }}
- name: HYPERFARM_STORAGE_URL
  {{- if $granted }}
  value: {{ printf "farm+http://%s:%d" (include "hyperfarm.name" .) (int .Values.coordinator.service.port) | quote }}
  {{- else }}
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "storage-url") | nindent 2 }}
  {{- end }}
{{- if .Values.storageGrants.enabled }}
- name: HYPERFARM_WORKER_TOKEN
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "worker-token") | nindent 2 }}
{{- end }}
- name: HYPERFARM_NAMESPACE
  value: {{ .Values.farmNamespace | quote }}
- name: HYPERFARM_LOG
  value: {{ .Values.log | quote }}
- name: HYPERFARM_LOG_FORMAT
  value: json
- name: HYPERFARM_DATA_DIR
  value: /scratch/data
- name: HOME
  value: /scratch
- name: TMPDIR
  value: /scratch
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Takes (dict "top" . "role" … "of" the role's values). Secrets of the object store are the coordinator's alone where it grants
storage to the others.
*/}}
{{- define "hyperfarm.envFrom" -}}
{{- $granted := and .top.Values.storageGrants.enabled (ne .role "coordinator") }}
{{- $secrets := ternary (list) .top.Values.envFromSecrets $granted }}
{{- if or $secrets .of.extraEnvFrom }}
envFrom:
  {{- range $secrets }}
  - secretRef: { name: {{ . | quote }} }
  {{- end }}
  {{- with .of.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/*
What a container runs. Takes (dict "top" . "args" (list …)). The URLs of servers in the release are put together in the pod, because
Kubernetes cannot escape a password; perl is in every Debian.
*/}}
{{- define "hyperfarm.command" -}}
{{- $values := .top.Values -}}
{{- $name := include "hyperfarm.name" .top -}}
{{- if or $values.rabbitmq.enabled $values.redis.enabled }}
command:
  - /usr/bin/tini
  - --
  - /bin/sh
  - -ec
  - |
    escaped() { printf %s "$1" | perl -0777 -pe 's/([^A-Za-z0-9._~-])/sprintf "%%%02X", ord $1/ge'; }
    {{- if $values.rabbitmq.enabled }}
    export HYPERFARM_AMQP_URL="amqp://hyperfarm:$(escaped "$RABBITMQ_PASSWORD")@{{ $name }}-rabbitmq:5672/%2f"
    {{- end }}
    {{- if $values.redis.enabled }}
    export HYPERFARM_REDIS_URL="redis://:$(escaped "$REDIS_PASSWORD")@{{ $name }}-redis:6379/0"
    {{- end }}
    unset RABBITMQ_PASSWORD REDIS_PASSWORD
    exec hyperfarm "$@"
  - hyperfarm
{{- end }}
args: {{ toJson .args }}
{{- end }}

{{/* The workers' seccomp profile in the kubelet's folder, named by what is in it, so that an upgrade does not change it under a pod. */}}
{{- define "hyperfarm.seccompFile" -}}
{{- $profile := .Files.Get "files/hyperfarm-worker.json" | required "files/hyperfarm-worker.json is not in the chart" -}}
{{- printf "hyperfarm-worker-%s.json" (sha256sum $profile | trunc 12) -}}
{{- end }}

{{/* Health and metrics of a process that has no API. */}}
{{- define "hyperfarm.probes" -}}
ports:
  - name: metrics
    containerPort: {{ .Values.metrics.port }}
startupProbe:
  httpGet: { path: /healthz, port: metrics }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: metrics }
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: metrics }
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}
