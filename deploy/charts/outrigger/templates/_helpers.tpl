{{/* The labels that selectors use: fixed for the life of a Deployment. Takes a dict of root and component. */}}
{{- define "outrigger.selector" -}}
app.kubernetes.io/name: outrigger-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* All recommended labels. Takes a dict of root and component. */}}
{{- define "outrigger.labels" -}}
{{ include "outrigger.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: outrigger
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- if .root.Values.revision }}
outrigger.io/rev: {{ .root.Values.revision }}
{{- end }}
{{- end }}

{{/* The name of what belongs to the whole cluster, told apart by revision. Takes a dict of root and component. */}}
{{- define "outrigger.clusterName" -}}
outrigger-{{ .component }}{{ if .root.Values.revision }}-{{ .root.Values.revision }}{{ end }}
{{- end }}

{{/* An image. Takes a dict of root and image. */}}
{{- define "outrigger.image" -}}
{{- if .root.Values.image.registry }}{{ .root.Values.image.registry }}/{{ end -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* How many pods. Takes a dict of root and of. */}}
{{- define "outrigger.replicas" -}}
{{- if .of.replicas }}{{ .of.replicas }}{{ else if .root.Values.ha }}3{{ else }}1{{ end -}}
{{- end }}

{{/* What the pod specs of both Deployments share. Takes a dict of root, component and of. */}}
{{- define "outrigger.pod" -}}
serviceAccountName: outrigger-{{ .component }}
enableServiceLinks: false
{{- if .root.Values.priorityClassName }}
priorityClassName: {{ .root.Values.priorityClassName }}
{{- end }}
{{- if .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range .root.Values.image.pullSecrets }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ if .root.Values.ha }}DoNotSchedule{{ else }}ScheduleAnyway{{ end }}
    labelSelector:
      matchLabels:
        {{- include "outrigger.selector" . | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "outrigger.selector" . | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- if .of.nodeSelector }}
nodeSelector:
  {{- toYaml .of.nodeSelector | nindent 2 }}
{{- end }}
{{- if .of.tolerations }}
tolerations:
  {{- toYaml .of.tolerations | nindent 2 }}
{{- end }}
{{- if .of.affinity }}
affinity:
  {{- toYaml .of.affinity | nindent 2 }}
{{- end }}
{{- end }}

{{/* What a container of the mesh may do: nothing that it does not need. */}}
{{- define "outrigger.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}
