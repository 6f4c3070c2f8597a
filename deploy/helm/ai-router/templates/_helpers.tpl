{{- define "ai-router.name" -}}
{{- $name := ternary .Release.Name (printf "%s-ai-router" .Release.Name) (contains "ai-router" .Release.Name) -}}
{{- $name | trunc 45 | trimSuffix "-" -}}
{{- end }}

{{- define "ai-router.selector" -}}
app.kubernetes.io/name: ai-router
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ai-router.labels" -}}
{{ include "ai-router.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "ai-router.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Whether there is a pod with a volume that feeds or leads the others. */}}
{{- define "ai-router.hasLeader" -}}
{{- if or (eq .Values.model.mode "feeder") (eq .Values.routes.mode "leader") -}}yes{{- end -}}
{{- end }}

{{/* Whether pods may ask web servers, for the model or for routes. */}}
{{- define "ai-router.asksServers" -}}
{{- if or (has .Values.model.mode (list "mirror" "volume" "feeder")) (eq .Values.routes.mode "url") -}}yes{{- end -}}
{{- end }}

{{/* Whether an autoscaler sets the number of replicas. */}}
{{- define "ai-router.scaled" -}}
{{- if or .Values.hpa.enabled .Values.keda.enabled -}}yes{{- end -}}
{{- end }}

{{/* Seconds that preStop, SHUTDOWN_DELAY_MS and DRAIN_MS take together. */}}
{{- define "ai-router.stopSeconds" -}}
{{- with .Values.shutdown -}}
{{- add (int .preStopSeconds) (ceil (divf (float64 (add (int .delayMs) (int .drainMs))) 1000.0) | int) -}}
{{- end -}}
{{- end }}

{{- define "ai-router.routesConfigMap" -}}
{{- .Values.routes.existingConfigMap | default (printf "%s-routes" (include "ai-router.name" .)) -}}
{{- end }}

{{/* The pod of a replica, or (.leader) of the leader. */}}
{{- define "ai-router.podSpec" -}}
{{- $v := .root.Values -}}
{{- $name := include "ai-router.name" .root -}}
{{- $files := and (or $v.routes.file $v.routes.existingConfigMap) (or (eq $v.routes.mode "configMap") (and .leader (eq $v.routes.mode "leader"))) -}}
serviceAccountName: {{ $name }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $v.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ $v.shutdown.graceSeconds | default (add 5 (include "ai-router.stopSeconds" .root)) }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with $v.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- if and $v.spreadOver (not .leader) }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ $v.spreadOver }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "ai-router.selector" .root | nindent 8 }}
        app.kubernetes.io/component: replica
{{- end }}
containers:
  - name: ai-router
    image: {{ include "ai-router.image" .root | quote }}
    imagePullPolicy: {{ $v.image.pullPolicy }}
    ports:
      - { name: http, containerPort: 3000 }
    env:
      - { name: MODEL_CACHE_DIR, value: /data/models }
      - { name: INFERENCE_WORKERS, value: {{ $v.workers | quote }} }
      - { name: SHUTDOWN_DELAY_MS, value: {{ $v.shutdown.delayMs | int | quote }} }
      - { name: DRAIN_MS, value: {{ $v.shutdown.drainMs | int | quote }} }
      {{- if or $v.model.serve (and .leader (eq $v.model.mode "feeder")) }}
      - { name: SERVE_MODEL, value: "true" }
      {{- end }}
      {{- if and .leader (eq $v.model.mode "feeder") }}
      {{- else if eq $v.model.mode "baked" }}
      - { name: MODEL_SOURCES, value: bundled }
      {{- else if eq $v.model.mode "mirror" }}
      - { name: MODEL_SOURCES, value: mirror }
      - { name: MODEL_MIRRORS, value: {{ $v.model.mirror | quote }} }
      {{- else if eq $v.model.mode "feeder" }}
      - { name: MODEL_SOURCES, value: mirror }
      - { name: MODEL_MIRRORS, value: "http://{{ $name }}-leader:3000" }
      {{- end }}
      {{- if $files }}
      - { name: ROUTES_FILE, value: /etc/ai-router/routes.yaml }
      {{- end }}
      {{- if and (eq $v.routes.mode "leader") (not .leader) }}
      - { name: ROUTES_URL, value: "http://{{ $name }}-leader:3000/routes" }
      {{- else if eq $v.routes.mode "url" }}
      - { name: ROUTES_URL, value: {{ $v.routes.url | quote }} }
      {{- end }}
      {{- if and (or $v.ingress.enabled (and $v.httpRoute.enabled $v.httpRoute.hostnames)) (not (hasKey $v.settings "ALLOWED_HOSTS")) }}
      {{- $namespace := .root.Release.Namespace }}
      {{- $names := list ".svc" ".local" }}
      {{- range list $name (printf "%s-leader" $name) }}
      {{- $names = concat $names (list . (printf "%s.%s" . $namespace)) }}
      {{- end }}
      - name: ALLOWED_HOSTS
        value: {{ concat $names (ternary (list $v.ingress.host) list $v.ingress.enabled) (ternary $v.httpRoute.hostnames list $v.httpRoute.enabled) | join "," | quote }}
      {{- end }}
      {{- if $v.existingSecret }}
      {{- range concat (list "API_KEYS" "ROUTES_URL_TOKEN" "MODEL_MIRROR_TOKEN" "HF_TOKEN" "FALLBACK_API_KEY") (ternary (list "ADMIN_KEYS") list $v.routes.editable) }}
      - name: {{ . }}
        valueFrom: { secretKeyRef: { name: {{ $v.existingSecret }}, key: {{ . }}, optional: {{ ne . "ADMIN_KEYS" }} } }
      {{- end }}
      {{- end }}
      {{- range $key, $value := $v.settings }}
      - { name: {{ $key }}, value: {{ $value | quote }} }
      {{- end }}
    startupProbe:
      httpGet: { path: /livez, port: http }
      periodSeconds: 1
      failureThreshold: 60
    readinessProbe:
      httpGet: { path: /readyz, port: http }
      periodSeconds: 2
      timeoutSeconds: 2
      failureThreshold: 2
    livenessProbe:
      httpGet: { path: /livez, port: http }
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    {{- with int $v.shutdown.preStopSeconds }}
    lifecycle:
      preStop: { sleep: { seconds: {{ . }} } }
    {{- end }}
    resources: {{ toYaml $v.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: { drop: [ALL] }
    volumeMounts:
      - { name: models, mountPath: /data/models }
      - { name: tmp, mountPath: /tmp }
      {{- if $files }}
      # The folder: a mount of the single file would never change.
      - { name: routes, mountPath: /etc/ai-router, readOnly: true }
      {{- end }}
volumes:
  - name: tmp
    emptyDir: { sizeLimit: 64Mi }
  {{- if not .leader }}
  - name: models
    {{- if eq $v.model.mode "volume" }}
    persistentVolumeClaim: { claimName: {{ $v.model.claim }} }
    {{- else }}
    emptyDir: { sizeLimit: 512Mi }
    {{- end }}
  {{- end }}
  {{- if $files }}
  - name: routes
    configMap: { name: {{ include "ai-router.routesConfigMap" .root }} }
  {{- end }}
{{- end }}

{{- define "ai-router.podMeta" -}}
labels: {{ include "ai-router.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ ternary "leader" "replica" .leader }}
  {{- with .root.Values.podLabels }}{{ toYaml . | nindent 2 }}{{ end }}
{{- with .root.Values.podAnnotations }}
annotations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
