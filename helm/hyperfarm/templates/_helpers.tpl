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

{{/* What every pod has before its containers. Nothing of the farm talks to Kubernetes. */}}
{{- define "hyperfarm.pod" -}}
serviceAccountName: {{ include "hyperfarm.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "hyperfarm.placement" -}}
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
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . | quote }}
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

{{- define "hyperfarm.env" -}}
{{- if .Values.rabbitmq.enabled }}
- name: RABBITMQ_PASSWORD
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "rabbitmq-password") | nindent 2 }}
- name: HYPERFARM_AMQP_URL
  value: {{ printf "amqp://hyperfarm:$(RABBITMQ_PASSWORD)@%s-rabbitmq:5672/%%2f" (include "hyperfarm.name" .) | quote }}
{{- else }}
- name: HYPERFARM_AMQP_URL
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "amqp-url") | nindent 2 }}
{{- end }}
{{- if .Values.redis.enabled }}
- name: REDIS_PASSWORD
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "redis-password") | nindent 2 }}
- name: HYPERFARM_REDIS_URL
  value: {{ printf "redis://:$(REDIS_PASSWORD)@%s-redis:6379/0" (include "hyperfarm.name" .) | quote }}
{{- else }}
- name: HYPERFARM_REDIS_URL
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "redis-url") | nindent 2 }}
{{- end }}
- name: HYPERFARM_STORAGE_URL
  {{- include "hyperfarm.fromSecret" (dict "top" . "key" "storage-url") | nindent 2 }}
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

{{- define "hyperfarm.envFrom" -}}
{{- with .Values.envFromSecrets }}
envFrom:
  {{- range . }}
  - secretRef: { name: {{ . | quote }} }
  {{- end }}
{{- end }}
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
