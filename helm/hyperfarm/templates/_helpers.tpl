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

{{/* What every pod has before its containers. Nothing of the farm talks to Kubernetes. */}}
{{- define "hyperfarm.pod" -}}
serviceAccountName: {{ include "hyperfarm.serviceAccount" . }}
automountServiceAccountToken: false
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
{{- end }}

{{- define "hyperfarm.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
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
{{- end }}

{{- define "hyperfarm.env" -}}
- name: HYPERFARM_AMQP_URL
  valueFrom: { secretKeyRef: { name: {{ .Values.secretName | quote }}, key: amqp-url } }
- name: HYPERFARM_REDIS_URL
  valueFrom: { secretKeyRef: { name: {{ .Values.secretName | quote }}, key: redis-url } }
- name: HYPERFARM_STORAGE_URL
  valueFrom: { secretKeyRef: { name: {{ .Values.secretName | quote }}, key: storage-url } }
- name: HYPERFARM_NAMESPACE
  value: {{ .Values.farmNamespace | quote }}
- name: HYPERFARM_LOG
  value: {{ .Values.log | quote }}
- name: HYPERFARM_LOG_FORMAT
  value: json
- name: HYPERFARM_DATA_DIR
  value: /scratch/data
- name: TMPDIR
  value: /scratch
{{- end }}

{{- define "hyperfarm.envFrom" -}}
{{- with .Values.envFromSecrets }}
envFrom:
  {{- range . }}
  - secretRef: { name: {{ . | quote }} }
  {{- end }}
{{- end }}
{{- end }}
