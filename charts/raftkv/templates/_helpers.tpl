{{- define "raftkv.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "raftkv.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "raftkv.name" . }}
{{- $release := include "raftkv.release" . }}
{{- if contains $name $release }}
{{- printf "%s-operator" $release | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s-operator" $release $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The release's name as part of other names: Services have no dots in theirs, and begin with a letter. */ -}}
{{- define "raftkv.release" -}}
{{- $release := .Release.Name | replace "." "-" }}
{{- if regexMatch "^[a-z]" $release }}{{ $release }}{{ else }}{{ printf "r%s" $release }}{{ end }}
{{- end }}

{{- /* The name of what is of the whole Kubernetes cluster. Operators of single namespaces may have one release name in several namespaces. */ -}}
{{- define "raftkv.clusterName" -}}
{{- if .Values.watchNamespaces }}
{{- printf "%s-%s" (include "raftkv.fullname" .) .Release.Namespace }}
{{- else }}
{{- include "raftkv.fullname" . }}
{{- end }}
{{- end }}

{{- /* What the schema cannot say. */ -}}
{{- define "raftkv.validate" -}}
{{- if eq (int .Values.metrics.port) (int .Values.health.port) }}
{{- fail (printf "metrics.port and health.port are both %d: the operator cannot listen twice on one port" (int .Values.health.port)) }}
{{- end }}
{{- if lt (float64 .Values.kubeAPI.burst) (float64 .Values.kubeAPI.qps) }}
{{- fail (printf "kubeAPI.burst is %v and must be at least kubeAPI.qps, which is %v" .Values.kubeAPI.burst .Values.kubeAPI.qps) }}
{{- end }}
{{- end }}

{{- define "raftkv.selectorLabels" -}}
app.kubernetes.io/name: raftkv-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "raftkv.labels" -}}
{{ include "raftkv.selectorLabels" . }}
{{ include "raftkv.releaseLabels" . }}
{{- end }}

{{- /* The labels of what belongs to the release and is no operator. */ -}}
{{- define "raftkv.releaseLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: raftkv
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}

{{- define "raftkv.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "raftkv.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* An image reference from a registry, a block with repository, tag and digest, and the version to fall back to. */ -}}
{{- define "raftkv.reference" -}}
{{- $name := printf "%s/%s" (trimSuffix "/" .registry) .image.repository }}
{{- if .image.digest }}
{{- printf "%s@%s" $name .image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .version .image.tag) }}
{{- end }}
{{- end }}

{{- define "raftkv.operatorImage" -}}
{{- include "raftkv.reference" (dict "registry" .Values.image.registry "image" .Values.image "version" .Chart.AppVersion) }}
{{- end }}

{{- define "raftkv.nodeImage" -}}
{{- include "raftkv.reference" (dict "registry" (default .Values.image.registry .Values.nodeImage.registry) "image" .Values.nodeImage "version" .Chart.AppVersion) }}
{{- end }}
