{{- define "se.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "se.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "se.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "se.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "se.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* Labels that select the operator's pods; never change for the life of a release. */}}
{{- define "se.selector" -}}
app.kubernetes.io/name: {{ include "se.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "se.labels" -}}
{{- with .Values.commonLabels }}{{ toYaml . }}
{{ end -}}
{{ include "se.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: smart-embedder
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "se.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "se.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* "true" when the chart has rights in the whole cluster. */}}
{{- define "se.clusterWide" -}}
{{- if not .Values.watchNamespaces }}true{{ end -}}
{{- end -}}

{{/* "true" when the operator is to answer custom.metrics.k8s.io. */}}
{{- define "se.metricsApi" -}}
{{- $enabled := toString .Values.metricsApi.enabled -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (include "se.clusterWide" .)) }}true{{ end -}}
{{- end -}}

{{- define "se.metricsApiSecret" -}}
{{- printf "%s-metrics-api" (include "se.fullname" .) -}}
{{- end -}}

{{/* An image reference from {registry, repository}, a tag and a digest; call with a dict. */}}
{{- define "se.imageRef" -}}
{{- $registry := default .image.registry .root.Values.global.imageRegistry -}}
{{- $path := ternary .image.repository (printf "%s/%s" $registry .image.repository) (empty $registry) -}}
{{- if .digest -}}{{ printf "%s@%s" $path .digest }}{{- else -}}{{ printf "%s:%s" $path .tag }}{{- end -}}
{{- end -}}

{{- define "se.operatorImage" -}}
{{- include "se.imageRef" (dict "root" . "image" .Values.image "tag" (default .Chart.AppVersion .Values.image.tag) "digest" .Values.image.digest) -}}
{{- end -}}

{{- define "se.serviceImage" -}}
{{- $image := .Values.service.image -}}
{{- include "se.imageRef" (dict "root" . "image" $image "tag" (default .Chart.AppVersion $image.tag) "digest" $image.digest) -}}
{{- end -}}

{{- define "se.gpuImage" -}}
{{- $image := .Values.service.image -}}
{{- $tag := printf "%s%s" (default .Chart.AppVersion $image.tag) $image.gpuSuffix -}}
{{- include "se.imageRef" (dict "root" . "image" $image "tag" $tag "digest" $image.gpuDigest) -}}
{{- end -}}

{{/* The profiles as the operator reads them. */}}
{{- define "se.profiles" -}}
{{- $profiles := dict -}}
{{- range $name, $profile := merge (deepCopy .Values.profiles) (deepCopy .Values.defaultProfiles) -}}
{{- if $profile -}}
{{- $_ := set $profiles $name $profile -}}
{{- end -}}
{{- end -}}
{{- toYaml $profiles -}}
{{- end -}}

{{/* The pod's security context; OpenShift assigns user and group itself and refuses others. */}}
{{- define "se.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* Families of a Service's addresses; said only where somebody chose. */}}
{{- define "se.ipFamilies" -}}
{{- with .Values.network.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.network.ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* What the operator may do with an Embedder's children, wherever it serves them. */}}
{{- define "se.servingRules" -}}
- apiGroups: [smart-embedder.io]
  resources: [embedders]
  verbs: [get, list, watch]
- apiGroups: [smart-embedder.io]
  resources: [embedders/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims, services]
  verbs: [get, list, watch, create, patch, delete]
# A ServiceAccount goes with its Embedder, by owner reference, and never before.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
# Read to name the true cause when something is wrong.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list]
- apiGroups: [""]
  resources: [events]
  verbs: [list, watch, create]
{{- end -}}

{{/* The Embedder of `helm test`, and the namespace in which the operator serves it. */}}
{{- define "se.testName" -}}
{{- printf "%s-test" (include "se.fullname" . | trunc 30 | trimSuffix "-") -}}
{{- end -}}

{{- define "se.testNamespace" -}}
{{- default (include "se.namespace" .) (first .Values.watchNamespaces) -}}
{{- end -}}
