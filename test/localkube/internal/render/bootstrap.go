package render

import (
	"fmt"
	"strings"

	"github.com/raftkv/raftkv/test/localkube/internal/plan"
)

// Bootstrap is what every cluster gets before it is handed over: DNS and a default class of volumes. DNS runs on each
// node and answers that node's pods, so cutting off or stopping one node takes the names from nobody else.
func Bootstrap(p plan.Plan, b Build) string {
	return strings.NewReplacer(
		"COREDNS_IMAGE", b.CoreDNSImage, "DNS_SERVICE", p.DNSService.String(), "CLUSTER_DOMAIN", plan.ClusterDomain,
	).Replace(bootstrap)
}

// PodCIDRPatch tells a Node object the range that its pods get their addresses from.
func PodCIDRPatch(n plan.Node) string {
	return fmt.Sprintf(`{"spec":{"podCIDR":%q,"podCIDRs":[%q]}}`, n.PodCIDR, n.PodCIDR)
}

const bootstrap = `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations:
    storageclass.kubernetes.io/is-default-class: "true"
provisioner: raftkv.io/localkube
reclaimPolicy: Delete
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: coredns
  namespace: kube-system
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: localkube:coredns
rules:
- apiGroups: [""]
  resources: [services, pods, namespaces]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: localkube:coredns
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: localkube:coredns
subjects:
- kind: ServiceAccount
  name: coredns
  namespace: kube-system
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: coredns
  namespace: kube-system
data:
  Corefile: |
    CLUSTER_DOMAIN:5353 in-addr.arpa:5353 ip6.arpa:5353 {
        errors
        health :8080
        ready :8181
        kubernetes CLUSTER_DOMAIN in-addr.arpa ip6.arpa {
            pods insecure
            ttl 1
        }
    }
    # There is no world outside of the cluster, and asking for it must not take a timeout to find out.
    .:5353 {
        errors
        template ANY ANY . {
            rcode NXDOMAIN
        }
    }
---
apiVersion: v1
kind: Service
metadata:
  name: kube-dns
  namespace: kube-system
  labels:
    k8s-app: kube-dns
    kubernetes.io/name: CoreDNS
spec:
  clusterIP: DNS_SERVICE
  internalTrafficPolicy: Local
  selector:
    k8s-app: kube-dns
  ports:
  - {name: dns, port: 53, targetPort: 5353, protocol: UDP}
  - {name: dns-tcp, port: 53, targetPort: 5353, protocol: TCP}
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: coredns
  namespace: kube-system
  labels:
    k8s-app: kube-dns
spec:
  selector:
    matchLabels:
      k8s-app: kube-dns
  template:
    metadata:
      labels:
        k8s-app: kube-dns
    spec:
      serviceAccountName: coredns
      priorityClassName: system-node-critical
      dnsPolicy: Default
      tolerations:
      - operator: Exists
      securityContext:
        runAsNonRoot: true
        seccompProfile: {type: RuntimeDefault}
      terminationGracePeriodSeconds: 1
      containers:
      - name: coredns
        image: COREDNS_IMAGE
        imagePullPolicy: Never
        args: [-conf, /etc/coredns/Corefile]
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
        resources:
          requests: {cpu: 10m, memory: 20Mi}
          limits: {memory: 170Mi}
        ports:
        - {name: dns, containerPort: 5353, protocol: UDP}
        - {name: dns-tcp, containerPort: 5353, protocol: TCP}
        readinessProbe:
          httpGet: {path: /ready, port: 8181}
          periodSeconds: 2
        livenessProbe:
          httpGet: {path: /health, port: 8080}
          initialDelaySeconds: 30
        volumeMounts:
        - {name: config, mountPath: /etc/coredns, readOnly: true}
      volumes:
      - name: config
        configMap: {name: coredns}
`
